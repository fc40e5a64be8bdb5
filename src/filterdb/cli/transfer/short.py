"""``filterdb transfer layers|matrix|keys|...``: an experiment without writing a plan first."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from filterdb.cli.transfer.doing import carry_out, run_options

if TYPE_CHECKING:
    from filterdb.transfer.plan import Plan
    from filterdb.transfer.run import Data

HELP = {
    "layers": """Take more and more layers from another network, part by part.

    Two networks learn two groups of classes. The first n layers of a part (depthwise, pointwise,
    regular) of one are frozen in a new network for the other group, which learns the rest.""",
    "matrix": """Put the filters of every data set into a network for every other.

    Beside them: the target's own filters, random ones, and training in full.""",
    "architectures": """Put the filters of other architectures into a network.

    By default those of the other separable networks, with the same kernel. Beside them: the
    network's own filters from another seed, random ones, and training in full.""",
    "donors": """Put the filters of any checkpoint or database into a network.

    The depthwise filters of each donor, of the network's kernel size, are frozen in it. Beside
    them: its own, random ones, random ones of the same spectrum, and training in full.""",
    "keys": """Freeze a few key filters in the place of learnt ones.

    Beside them: as many random filters, the network's own learnt filters, random ones, random
    ones of the same spectrum, and training in full.""",
    "removal": """Take keys out of a set one by one, each time that whose absence costs least.

    It is chosen by training images that are held out; what is left is then trained anew, beside
    as many keys drawn from the set, as many random filters, and the network's own.""",
    "size": """Take the filters of a source that has seen more or less of its images.

    Every source is trained for equally many steps.""",
}


def short(name: str) -> click.Command:
    """The command for one experiment."""

    @click.command(name, help=HELP[name])
    @click.option("--data", metavar="SPEC", help="A folder, file or built-in set (digits, shapes, "
                  "textures, fractals). Images are brought to 16x16 grey; --set data.size=32 and "
                  "--set data.channels=3 change it.  [default: digits]")  # fmt: skip
    @click.option("--network", metavar="NAME", help="convmixer, convnext, mobilenet, resnet, or "
                  "your own as MODULE:FUNCTION.  [default: convmixer]")  # fmt: skip
    @click.option("--set", "settings", metavar="KEY=VALUE", multiple=True,
                  help="A key of the plan, e.g. budget.epochs=20. Repeatable; --plan-only shows "
                  "all keys.")  # fmt: skip
    @click.option("--seeds", type=click.IntRange(3, 1000), default=3, show_default=True,
                  help="Repeats, for the interval.")  # fmt: skip
    @donor_options(name)
    @run_options
    def command(
        data: str | None,
        network: str | None,
        settings: tuple[str, ...],
        seeds: int,
        out: str | None,
        donor: tuple[str, ...] = (),
        where: str | None = None,
        **how: Any,
    ) -> None:
        tables = {"donors": {"sources": sources_of(donor, where)}} if donor or where else {}
        plan = plan_from(name, settings, data=data, network=network, seeds=seeds, tables=tables)
        if data is not None:
            say_images(plan.data, settings)
        carry_out(plan, out or f"transfer-{name}", **how)

    return command


def say_images(data: Data, settings: tuple[str, ...]) -> None:
    """Say on stderr what images of one's own are brought to, where that was not asked for."""
    from filterdb.transfer.picture import images_of

    keys = {"data.size": 32, "data.channels": 3}
    unsaid = [f"--set {key}={value}" for key, value in keys.items()
              if not any(told.partition("=")[0].strip() == key for told in settings)]  # fmt: skip
    if unsaid:
        told = images_of(data.size, data.channels)
        click.echo(f"Images are brought to {told}; to change it, e.g. {' '.join(unsaid)}", err=True)


def donor_options(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that only the experiment with donors has."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        if name != "donors":
            return command
        command = click.option("--where", metavar="CONDITION",
                               help="SQL over the layers of those donors that are databases, "
                               "e.g. \"task = 'detection'\".")(command)  # fmt: skip
        return click.option("--donor", metavar="PATH", multiple=True,
                            help="A checkpoint or a database whose depthwise filters are taken. "
                            "Repeatable.")(command)  # fmt: skip

    return decorate


def sources_of(donors: tuple[str, ...], where: str | None) -> dict[str, Any]:
    """Name -> file or selection, as a plan has them.

    Raises
    ------
    click.BadParameter
        A condition is given, and no database.
    """
    databases = {path for path in donors if Path(path).is_dir()}
    if where is not None and not databases:
        msg = "It is a condition on the layers of a database, and no --donor is one."
        raise click.BadParameter(msg, param_hint="--where")
    names = [Path(path).stem or path for path in donors]
    found = {}
    for path, name in zip(donors, names, strict=True):
        condition = {"where": where} if where is not None and path in databases else {}
        found[path if names.count(name) > 1 else name] = {"path": path, **condition}
    return found


layers, matrix, architectures, donors, keys, removal, size = map(short, HELP)


def plan_from(
    experiment: str,
    settings: tuple[str, ...] = (),
    *,
    data: str | None = None,
    network: str | None = None,
    seeds: int = 3,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
) -> Plan:
    """The plan with every default, changed by what was said on the command line.

    ``tables`` has keys of its tables that have options of their own.

    Raises
    ------
    TransferError
        A key is unknown, or its value cannot be.
    click.BadParameter
        A setting is no KEY=VALUE.
    """
    from filterdb.transfer.plan import plan_of

    if data is not None and experiment == "matrix":
        msg = "A matrix has several sets: --set matrix.sets.mine=PATH adds one, and so on."
        raise click.BadParameter(msg, param_hint="--data")
    told = plan_of({"experiment": experiment}).to_dict()
    told["seeds"] = list(range(seeds))
    if data is not None:
        told["data"]["spec"] = data
    if network is not None and network != told["network"]["name"]:
        told["network"] = {"name": network}  # the arguments were another network's
    for table, values in (tables or {}).items():
        told[table] |= values
    for setting in settings:
        put(told, setting)
    return plan_of(told)


def put(told: dict[str, Any], setting: str) -> None:
    """Put a KEY=VALUE into a plan; the key may have dots, as in TOML.

    Raises
    ------
    click.BadParameter
        It is none, or its key lies within a value.
    """
    key, equals, value = setting.partition("=")
    *tables, last = key.strip().split(".")
    if not equals or not all((*tables, last)):
        msg = f"{setting!r} is no KEY=VALUE such as budget.epochs=20."
        raise click.BadParameter(msg, param_hint="--set")
    here = told
    for name in tables:
        here = here.setdefault(name, {})
        if not isinstance(here, dict):
            msg = f"{setting!r}: {name} is no table of keys. --plan-only shows the keys there are."
            raise click.BadParameter(msg, param_hint="--set")
    here[last] = value_of(value.strip())


def value_of(text: str) -> Any:
    """A value of TOML; what is none is a string, so that paths and names need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
