"""Google's own Python client, by REST, against gcp_server.js: peer.py URL KEY CREDENTIALS.

Prints one JSON line for each call: {"ok": ...} or {"code": ..., "message": ...}."""

import json
import sys

from google.api_core import client_options, exceptions
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports.rest import KeyManagementServiceRestTransport
from google.oauth2 import service_account

URL, KEY, CREDENTIALS = sys.argv[1:]
DEK, AAD = b"hello-dek-0123456789abcdef", b"aad-bytes"


def main():
    credentials = service_account.Credentials.from_service_account_file(
        CREDENTIALS, scopes=["https://www.googleapis.com/auth/cloudkms"])
    transport = KeyManagementServiceRestTransport(
        host=URL.replace("http://", ""), url_scheme="http", credentials=credentials)
    client = kms_v1.KeyManagementServiceClient(transport=transport, client_options=client_options.ClientOptions())

    def attempt(call, **request):
        try:
            answer = call(request=request, retry=None, timeout=10)
        except exceptions.GoogleAPICallError as error:
            print(json.dumps({"code": error.code, "message": error.message}), flush=True)
            return None
        print(json.dumps({"ok": str(answer)}), flush=True)
        return answer

    sealed = attempt(client.encrypt, name=KEY + "/cryptoKeyVersions/1", plaintext=DEK, plaintext_crc32c=1616519357,
                     additional_authenticated_data=AAD, additional_authenticated_data_crc32c=3843394073)
    assert sealed.verified_plaintext_crc32c and sealed.verified_additional_authenticated_data_crc32c
    assert sealed.name == KEY + "/cryptoKeyVersions/1"
    opened = attempt(client.decrypt, name=KEY, ciphertext=sealed.ciphertext, additional_authenticated_data=AAD)
    assert opened.plaintext == DEK and opened.plaintext_crc32c == 1616519357, opened
    attempt(client.decrypt, name=KEY, ciphertext=sealed.ciphertext, additional_authenticated_data=b"other")
    attempt(client.decrypt, name=KEY, ciphertext=sealed.ciphertext, ciphertext_crc32c=1)
    attempt(client.encrypt, name=KEY, plaintext=bytes(8193))
    attempt(client.get_crypto_key_version, name=KEY + "/cryptoKeyVersions/1")
    versions = [version.name for version in client.list_crypto_key_versions(request={"parent": KEY}, retry=None)]
    assert versions == ["%s/cryptoKeyVersions/%d" % (KEY, n + 1) for n in range(len(versions))], versions
    print(json.dumps({"ok": len(versions)}))


main()
