"""What is masked as personal data: section `clean.personal_data`."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.strict import Strict

Kind = Literal["e-mail", "phone", "ip", "card", "iban", "key", "ssn", "crypto", "mac"]


class PersonalData(Strict):
    """Addresses, numbers and secrets replaced by what they are. No document is dropped."""

    on: bool = False
    """Whether the step runs."""
    kinds: list[Kind] = ["e-mail", "phone", "ip", "card", "iban", "key"]
    """What is looked for. `key`: passwords and keys of services, private keys; `ssn`: US social security numbers;
    `crypto`: Bitcoin and Ethereum addresses; `mac`: hardware addresses."""
    private_ips: bool = False
    """Mask private and reserved IP addresses too (192.168.0.1); they point at nobody (datatrove masks public ones only)."""
    placeholder: str = "<{kind}>"
    """What stands in the place of what was found; {kind} becomes EMAIL, PHONE, IP, CARD, IBAN, KEY, SSN, CRYPTO or MAC."""

    @field_validator("placeholder")
    @classmethod
    def _never_found_again(cls, value: str) -> str:
        rest = value.replace("{kind}", "")
        if any(letter.isdigit() or letter in "@={}:" for letter in rest):
            raise PydanticCustomError(
                "placeholder", "a placeholder has no digits and none of @ = : but {{kind}}: it would be taken for personal data"
            )
        return value
