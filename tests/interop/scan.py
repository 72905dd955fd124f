"""One look over everything that programs said: is a secret in it, in any form that it may have there?"""

import base64


def forms(secret):
    """As text and as bytes might be shown."""
    data = secret if isinstance(secret, bytes) else secret.encode()
    shown = [base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode(), data.hex(), data.hex().upper(),
             data.decode("latin-1")]
    return [form.rstrip("=") for form in shown]


def pieces(secret):
    """What is long enough to be no accident: the beginning, the middle and the end of each form."""
    for form in forms(secret):
        for at in {0, max(0, len(form) // 2 - 8), max(0, len(form) - 16)}:
            yield form[at:at + 16]


def leaks(texts, secrets):
    """[(where, the piece)] of texts, a dict."""
    found = []
    for piece in {piece for secret in secrets if secret for piece in pieces(secret)}:
        found += [(where, piece) for where, text in texts.items() if piece in text]
    return found


def read(path):
    with open(path, encoding="latin-1") as file:
        return file.read()


def insist(texts, secrets):
    """On that there is none, and on that the look would have found one."""
    assert secrets and any(text for text in texts.values()), "nothing to look over"
    for secret in secrets:
        for form in forms(secret):
            assert leaks({"planted": "said %s here" % form}, [secret]), "this look finds nothing"
    found = leaks(texts, secrets)
    assert not found, found
