"""Makes vectors.json: tokens signed by another implementation (Python's cryptography), and ones that must be refused.

    python3 make_vectors.py > vectors.json

The private keys are thrown away.
"""

import base64
import hashlib
import hmac
import json

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

CLAIMS = {"iss": "https://issuer.example", "aud": "spans", "sub": "edge-1", "iat": 1700000000, "exp": 4102444800}
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, length=None):
    return b64(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def signing_input(alg, kid):
    header = {"alg": alg, "typ": "JWT", "kid": kid}
    return ".".join(b64(json.dumps(part).encode()) for part in (header, CLAIMS)).encode()


def finish(message, signature):
    return message.decode() + "." + b64(signature)


rsa_key = rsa.generate_private_key(65537, 2048)
p256 = ec.generate_private_key(ec.SECP256R1())
p384 = ec.generate_private_key(ec.SECP384R1())
p521 = ec.generate_private_key(ec.SECP521R1())
ed = ed25519.Ed25519PrivateKey.generate()


def ec_jwk(key, curve, length, kid):
    point = key.public_key().public_numbers()
    return {"kty": "EC", "crv": curve, "x": number(point.x, length), "y": number(point.y, length), "kid": kid}


public = rsa_key.public_key().public_numbers()
keys = [
    {"kty": "RSA", "use": "sig", "n": number(public.n), "e": number(public.e), "kid": "rsa"},
    ec_jwk(p256, "P-256", 32, "p256"),
    ec_jwk(p384, "P-384", 48, "p384"),
    ec_jwk(p521, "P-521", 66, "p521"),
    {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": "ed",
        "x": b64(ed.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)),
    },
]


def sign_rsa(alg):
    message = signing_input(alg, "rsa")
    digest = HASHES[alg[2:]]
    scheme = padding.PKCS1v15() if alg[0] == "R" else padding.PSS(padding.MGF1(digest), digest.digest_size)
    return finish(message, rsa_key.sign(message, scheme, digest))


def sign_ec(alg, key, length, kid):
    message = signing_input(alg, kid)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(HASHES[alg[2:]] if alg[2:] in HASHES else HASHES["512"])))
    return finish(message, r.to_bytes(length, "big") + s.to_bytes(length, "big"))


def sign_ed():
    message = signing_input("EdDSA", "ed")
    return finish(message, ed.sign(message))


def sign_hmac(secret, kid):
    message = signing_input("HS256", kid)
    return finish(message, hmac.new(secret, message, hashlib.sha256).digest())


pem = rsa_key.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
good = {alg: sign_rsa(alg) for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")}
good["ES256"] = sign_ec("ES256", p256, 32, "p256")
good["ES384"] = sign_ec("ES384", p384, 48, "p384")
good["EdDSA"] = sign_ed()
der = p256.sign(signing_input("ES256", "p256"), ec.ECDSA(hashes.SHA256()))
stranger = rsa.generate_private_key(65537, 2048)
message = signing_input("RS256", "rsa")
bad = {
    "HS256 with the public key as its secret": sign_hmac(pem, "rsa"),
    "HS256 with the modulus as its secret": sign_hmac(number(public.n).encode(), "rsa"),
    "none": finish(signing_input("none", "rsa"), b""),
    "None with a signature of RS256": finish(signing_input("None", "rsa"), rsa_key.sign(message, padding.PKCS1v15(), hashes.SHA256())),
    "RS256 with a key of P-256": finish(signing_input("RS256", "p256"), b"\0" * 64),
    "ES256 in DER": finish(signing_input("ES256", "p256"), der),
    "ES256 of zeros": finish(signing_input("ES256", "p256"), b"\0" * 64),
    "ES512": sign_ec("ES512", p521, 66, "p521"),
    "RS256 of a stranger": finish(message, stranger.sign(message, padding.PKCS1v15(), hashes.SHA256())),
    "RS256 said, PS256 done": finish(
        message, rsa_key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    ),
}
print(json.dumps({"jwks": {"keys": keys}, "good": good, "bad": bad}, indent=1))
