"""What main_sibling.py imports: its functions travel by name, so workers must be able to import it too."""


class Thing:
    def __init__(self, x: int) -> None:
        self.x = x


def triple(x: int) -> int:
    return 3 * x
