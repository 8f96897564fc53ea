"""A ledger: reads movements of money, refuses what cannot be, prints what is left."""

import sys
from collections import defaultdict
from dataclasses import dataclass, field


class Refused(Exception):
    """A movement that cannot be."""


@dataclass
class Ledger:
    accounts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def deposit(self, name: str, amount: int) -> None:
        self.accounts[name] += amount

    def withdraw(self, name: str, amount: int) -> None:
        if self.accounts[name] < amount:
            raise Refused(f"{name} has only {self.accounts[name]}")
        self.accounts[name] -= amount

    def transfer(self, source: str, target: str, amount: int) -> None:
        self.withdraw(source, amount)
        self.deposit(target, amount)

    def apply(self, line: str) -> None:
        match line.split():
            case ["deposit", name, amount]:
                self.deposit(name, int(amount))
            case ["withdraw", name, amount]:
                self.withdraw(name, int(amount))
            case ["transfer", source, target, amount]:
                self.transfer(source, target, int(amount))
            case _:
                raise Refused(f'cannot read "{line}"')


def main() -> None:
    ledger = Ledger()
    for number, line in enumerate(sys.stdin, start=1):
        try:
            ledger.apply(line.rstrip("\n"))
        except Refused as why:
            print(f"line {number}: {why}")
    for name, amount in sorted(ledger.accounts.items()):
        print(name, amount)
    print("total", sum(ledger.accounts.values()))


if __name__ == "__main__":
    main()
