#!/usr/bin/env python3
"""Makes vectors.tsv with the tools that people make htpasswd tables with: htpasswd (Apache), openssl and crypt(3).

Each line: the tool and scheme, the password in base64, the hash. Run it where these tools are: ./make_vectors.py > vectors.tsv
"""
import base64, crypt, hashlib, os, subprocess, sys, warnings

PASSWORDS = [
    "", "a", "1234", "hunter2", "pass word", " leading", "trailing ", "p:a:s:s", ":", "$1$2", "\\\"'`", "{PLAIN}x",
    "pässwörd", "пароль", "密码🔑", "ÿ", "tab\tinside", "%s%n", "x" * 15, "x" * 16, "x" * 17, "x" * 63, "x" * 64, "x" * 65,
    "y" * 71, "y" * 72, "y" * 73, "y" * 72 + "z", "ü" * 36, "ü" * 40, "q" * 127, "q" * 200,
]


def run(*arguments, text=None):
    done = subprocess.run(arguments, input=text, capture_output=True, check=True)
    return done.stdout.decode().strip()


def emit(tool, password, value):
    print(tool, base64.b64encode(password.encode()).decode(), value, sep="\t")


for password in PASSWORDS:
    for flags in (["-B", "-C", "4"], ["-B", "-C", "5"], ["-m"], ["-s"], ["-2"], ["-5"], ["-5", "-r", "1000"], ["-2", "-r", "7777"]):
        try:
            line = run("htpasswd", "-nb", *flags, "u", password)
        except subprocess.CalledProcessError as error:
            print("htpasswd", flags, repr(password), error.stderr, file=sys.stderr)
            continue
        emit("htpasswd " + " ".join(flags), password, line.split(":", 1)[1])
    for flags in (["-1"], ["-apr1"], ["-5"], ["-6"], ["-6", "-salt", "rounds=1234$saltsalt"], ["-5", "-salt", "rounds=4321$s"]):
        if password and len(password.encode()) < 250:
            emit("openssl passwd " + " ".join(flags), password, run("openssl", "passwd", *flags, "--", password))
    warnings.simplefilter("ignore")
    for salt in ("$2b$04$" + "abcdefghijklmnopqrstuu", "$2a$04$" + "abcdefghijklmnopqrstuu", "$2y$04$" + "abcdefghijklmnopqrstuu",
                 "$6$rounds=5000$0123456789abcdef$", "$5$rounds=1001$..$", "$1$saltsalt$"):
        emit("crypt(3)", password, crypt.crypt(password, salt))
    salt = hashlib.sha256(password.encode()).digest()[:8]
    digest = hashlib.sha1(password.encode() + salt).digest()
    emit("SSHA", password, "{SSHA}" + base64.b64encode(digest + salt).decode())
