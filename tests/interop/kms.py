"""KMS v2 and v1beta1 for a generic gRPC client: messages by hand, field by field.

Independent of proto/*.proto on purpose: the numbers below are typed from the contract, so that a slip
in the project's own files shows.
"""

import uuid

import grpc

from protowire import pack, unpack


def field(number, value):
    """A length-delimited field; proto3 leaves empty ones out."""
    return pack((number, value)) if value else b""


def fields(message):
    """{number: [bytes, ...]} of a message that has only length-delimited fields."""
    found = {}
    for number, value in unpack(message):
        if isinstance(value, int):
            raise ValueError("a number in a KMS answer")
        found.setdefault(number, []).append(value)
    return found


def one(found, number):
    return found.get(number, [b""])[-1]


def pairs(found, number):
    result = {}
    for entry in found.get(number, []):
        inner = fields(entry)
        result[one(inner, 1).decode()] = one(inner, 2)
    return result


class Status:
    def __init__(self, message):
        found = fields(message)
        self.version = one(found, 1).decode()
        self.healthz = one(found, 2).decode()
        self.key_id = one(found, 3).decode()


class Encrypted:
    def __init__(self, message):
        found = fields(message)
        self.ciphertext = one(found, 1)
        self.key_id = one(found, 2).decode()
        self.annotations = pairs(found, 3)


class Version:
    def __init__(self, message):
        found = fields(message)
        self.version, self.runtime_name, self.runtime_version = (
            one(found, number).decode() for number in (1, 2, 3))


def annotation_fields(annotations):
    return b"".join(field(4, field(1, key) + field(2, value))
                    for key, value in (annotations or {}).items())


class Client:
    """One connection of its own, as an API server has one."""

    def __init__(self, path, timeout=10.0, options=(), wait=True, metadata=None):
        self.timeout, self.wait, self.metadata = timeout, wait, metadata
        self.channel = grpc.insecure_channel("unix:" + path, options=[
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            # An outage in a test is a matter of milliseconds.
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
            *options])

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def method(self, path):
        return self.channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)

    def call(self, path, message, timeout=None, **options):
        return self.method(path)(message, timeout=timeout or self.timeout,
                                 wait_for_ready=self.wait, metadata=self.metadata, **options)

    def begin(self, path, message, timeout=None):
        """The call under way, a grpc.Future."""
        return self.method(path).future(message, timeout=timeout or self.timeout,
                                        wait_for_ready=self.wait, metadata=self.metadata)

    # v2

    def status(self, **options):
        return Status(self.call("/v2.KeyManagementService/Status", b"", **options))

    @staticmethod
    def encrypt_request(plaintext, uid=None):
        return field(1, plaintext) + field(2, str(uuid.uuid4()) if uid is None else uid)

    def encrypt(self, plaintext, uid=None, **options):
        return Encrypted(self.call("/v2.KeyManagementService/Encrypt",
                                   self.encrypt_request(plaintext, uid), **options))

    @staticmethod
    def decrypt_request(ciphertext, key_id, annotations=None, uid=None):
        return (field(1, ciphertext) + field(2, str(uuid.uuid4()) if uid is None else uid) +
                field(3, key_id) + annotation_fields(annotations))

    def decrypt(self, ciphertext, key_id, annotations=None, uid=None, **options):
        answer = self.call("/v2.KeyManagementService/Decrypt",
                           self.decrypt_request(ciphertext, key_id, annotations, uid), **options)
        return one(fields(answer), 1)

    def open(self, encrypted, **options):
        """Decrypts what encrypt() gave, echoing all of it as the API server does."""
        return self.decrypt(encrypted.ciphertext, encrypted.key_id, encrypted.annotations, **options)

    # v1beta1

    def version1(self, **options):
        return Version(self.call("/v1beta1.KeyManagementService/Version", field(1, "v1beta1"),
                                 **options))

    def encrypt1(self, plain, version="v1beta1", **options):
        return one(fields(self.call("/v1beta1.KeyManagementService/Encrypt",
                                    field(1, version) + field(2, plain), **options)), 1)

    def decrypt1(self, cipher, version="v1beta1", **options):
        return one(fields(self.call("/v1beta1.KeyManagementService/Decrypt",
                                    field(1, version) + field(2, cipher), **options)), 1)
