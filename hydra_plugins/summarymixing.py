"""What hydra has to know of this package before it reads a configuration: it imports every module of ``hydra_plugins``.

``${summarymixing:user_dir}`` is the folder of the installed package, for ``common.user_dir``. fairseq takes a path
there, relative to the working directory; so it is right wherever the command is typed and however the package is
installed. The package must not be imported here: fairseq registers the models and tasks of a user-dir only at its first
import.

``${summarymixing:sweep}`` is a folder for each job of a sweep, for the end of ``checkpoint.save_dir``:
``/model.mixer=mhsa`` under ``-m model.mixer=summarymixing,mhsa``; without a sweep it is empty.
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import multiprocessing
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.utils import get_original_cwd
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

COMMAND = "fairseq-hydra-train"
# Names of the fields that a sweep gives several values, for the processes that a launcher starts, which do not see the
# command line.
SWEPT = "SUMMARYMIXING_SWEPT"

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_APPLY = "_apply_overrides_to_config"  # of another name in another hydra: then there are no hints
# hydra's own, where this module is imported a second time too, as in a job of submitit's
_apply_overrides: Any = getattr(ConfigLoaderImpl, _APPLY, None)
_apply_overrides = getattr(_apply_overrides, "__wrapped__", _apply_overrides)


class SummaryMixing(SearchPathPlugin):
    """Takes this module, and so the resolver, into the processes that a hydra launcher starts."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """The search path stays. Hydra calls this before it reads a training's configuration.

        Its warnings, of the way that fairseq calls it, and its debug lines are kept off the terminal. An unknown field
        gets the name of the nearest one.
        """
        if Path(sys.argv[0]).name != COMMAND:
            return
        warnings.filterwarnings("ignore", category=UserWarning, module=r"(hydra|sys$|fairseq_cli\.hydra_train)")
        logging.getLogger("hydra").setLevel(logging.INFO)
        os.environ[SWEPT] = "\n".join(_swept(sys.argv[1:]))
        if _apply_overrides is not None:
            setattr(ConfigLoaderImpl, _APPLY, staticmethod(_apply_overrides_with_hint))
        mp: Any = sys.modules["torch"].multiprocessing  # fairseq has imported it; other programs of hydra's need none
        if getattr(mp.spawn, "func", None) is not _spawn_and_wait:
            mp.spawn = partial(_spawn_and_wait, mp.spawn)
        train: Any = sys.modules["fairseq_cli.hydra_train"]
        if getattr(train.add_defaults, "func", None) is not _add_defaults:
            train.add_defaults = partial(_add_defaults, train.add_defaults)


def _add_defaults(add_defaults: Callable[[DictConfig], None], cfg: DictConfig) -> None:
    """fairseq's, which it calls again once the package is imported: errors are told then, in one line."""
    _check_found(cfg)
    with suppress(OmegaConfBaseException):
        add_defaults(cfg)


def _check_found(cfg: DictConfig) -> None:
    """End in one line where nothing says what to train: hydra finds fairseq's defaults under any name."""
    if not OmegaConf.is_missing(cfg, "model") and cfg.model is not None:
        return
    args = get_args()
    if not args.config_name:
        sys.exit(f"{COMMAND}: give a recipe: --config-dir FOLDER --config-name NAME")
    folder = Path(args.config_dir or ".")
    started_in = get_original_cwd() if HydraConfig.initialized() else "."
    near = difflib.get_close_matches(
        args.config_name, [path.stem for path in Path(started_in, folder).glob("*.yaml")], 1
    )
    hint = f"; did you mean {near[0]}?" if near else ""
    sys.exit(f"{COMMAND}: {folder / args.config_name}.yaml is not there, or has no model{hint}")


def _spawn_and_wait(spawn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """torch's, by which fairseq starts a process for each GPU: they end by signals, and this one with their status.

    A terminal sends Ctrl-C to them too. Other signals come to this process alone, and are passed on.
    """

    def pass_on(number: int, _frame: object) -> None:
        for child in multiprocessing.active_children():
            if number != signal.SIGINT and child.pid is not None:
                os.kill(child.pid, number)

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, pass_on)
    try:
        return spawn(*args, **kwargs)
    except Exception as error:
        status = getattr(error, "exit_code", 0)  # of torch's ProcessExitedException
        if status - 128 not in SIGNALS:
            raise
        sys.exit(status)  # it has said why


def _swept(arguments: list[str]) -> list[str]:
    """Names of the fields with several values on a command line."""
    names = []
    for argument in arguments:
        if "=" in argument and not argument.startswith("-"):
            with suppress(HydraException):  # which hydra itself will tell of
                (override,) = OverridesParser.create().parse_overrides([argument])
                names += [override.key_or_group] * override.is_sweep_override()
    return names


def _apply_overrides_with_hint(overrides: Any, cfg: DictConfig) -> None:
    try:
        _apply_overrides(overrides, cfg)
    except ConfigCompositionException as error:
        _check_found(cfg)
        known = [
            f"{group}.{field}"
            for group in map(str, cfg)
            for field in (cfg[group] if OmegaConf.is_dict(cfg[group]) else ())
        ]
        unknown = re.search(r"Could not override '([^']+)'", str(error))
        if unknown and (near := difflib.get_close_matches(unknown[1], known, 1)):
            raise ConfigCompositionException(
                f"{unknown[0]}: did you mean {near[0]}?\n"
                f"A field that the configuration does not list needs a plus: +{unknown[1]}=..."
            ) from None
        raise


_apply_overrides_with_hint.__wrapped__ = _apply_overrides  # type: ignore[attr-defined]


def _sweep() -> str:
    swept = os.environ.get(SWEPT, "").splitlines()
    if not swept or not HydraConfig.initialized():
        return ""
    # not resolved: the overrides may have this very resolver in them
    given: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    own = [override for override in map(str, given) if override.partition("=")[0].lstrip("+") in swept]
    return "/" + ",".join(own).replace("/", "_") if own else ""


def _resolve(key: str) -> str:
    if key == "sweep":
        return _sweep()
    if key != "user_dir":
        raise ValueError(f"${{summarymixing:{key}}}: only user_dir and sweep are known")
    spec = importlib.util.find_spec("summarymixing_fairseq")
    if spec is None or spec.origin is None:
        raise ValueError("${summarymixing:user_dir}: summarymixing_fairseq is not installed")
    return str(Path(spec.origin).parent)


if hasattr(OmegaConf, "register_new_resolver"):
    OmegaConf.register_new_resolver("summarymixing", _resolve, replace=True)
else:  # omegaconf 2.0, which comes with fairseq for Python 3.9 and 3.10
    OmegaConf.register_resolver("summarymixing", _resolve)
