"""The control keys of French identifiers: each a line or two, over characters without separators. Pure.

python-stdnum (LGPL) knows the same sums; it checks neither the month of a NIR nor what stands around a number, and
would be a dependency for twenty lines.
"""

from datetime import datetime

CORSICA = {"2A": "19", "2B": "18"}
LA_POSTE = "356000000"  # its establishments are too many for Luhn: their digits sum to a multiple of five
# A RIB's letters count as digits: A J → 1, B K S → 2, …, I R Z → 9.
RIB_DIGITS = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "12345678912345678923456789")
# ISO 13616 lengths, of the countries that use IBANs around us.
IBAN_LENGTHS = {
    "AD": 24, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20, "ES": 24,
    "FI": 18, "FR": 27, "GB": 22, "GI": 23, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IS": 26, "IT": 27, "LI": 21,
    "LT": 20, "LU": 20, "LV": 21, "MA": 28, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24,
    "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29, "VA": 22,
}  # fmt: skip


def luhn(digits: str) -> bool:
    total = sum(int(one) for one in digits[-1::-2])
    return (total + sum(sum(divmod(2 * int(one), 10)) for one in digits[-2::-2])) % 10 == 0


def siren(digits: str) -> bool:
    return luhn(digits) and digits != "000000000"


def siret(digits: str) -> bool:
    if digits.startswith(LA_POSTE):
        return luhn(digits) or sum(map(int, digits)) % 5 == 0
    return siren(digits[:9]) and luhn(digits)


def looks_like_an_instant(digits: str) -> bool:
    """20260315124500: one such number in a hundred would be a SIRET."""
    try:
        datetime.strptime(digits, "%Y%m%d%H%M%S")  # noqa: DTZ007 - only its shape is asked
    except ValueError:
        return False
    return digits.startswith(("19", "20"))


def nir_body(body: str) -> bool:
    """The thirteen characters: sex (temporary 3, 4, 7, 8 too), year, month or its stand-ins, department."""
    month = int(body[3:5])
    return (1 <= month <= 12 or 20 <= month <= 42 or month >= 50) and body[5:7] != "00"


def nir(text: str) -> bool:
    """Fifteen characters, 2A and 2B for Corsica."""
    body = text[:13]
    number = int(body[:5] + CORSICA.get(body[5:7], body[5:7]) + body[7:])
    return nir_body(body) and int(text[13:]) == 97 - number % 97


def iban(text: str) -> bool:
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(one, 36)) for one in text[4:] + text[:4])) % 97 == 1


def rib(text: str) -> bool:
    """Bank, branch, account, key: 23 characters."""
    return text[:10].strip("0") != "" and int(text.translate(RIB_DIGITS)) % 97 == 0
