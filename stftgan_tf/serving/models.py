"""The models of a server, each with its versions."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from stftgan_tf.errors import ConfigError, UsageError, UserError
from stftgan_tf.serving import model_config
from stftgan_tf.serving.model import ModelVersion
from stftgan_tf.serving.model_config import ModelConfig
from stftgan_tf.serving.options import ServerOptions, check_models
from stftgan_tf.serving.version_state import VersionStatus
from stftgan_tf.serving.versions import VersionManager

_LOG = logging.getLogger(__name__)

# A model whose load hangs does not keep the server from starting for longer.
START_SECS = 300.0


class Models:
    """Finds models by their names in requests.

    If the options name a config file and a time, the file is read again at
    this interval, and models, policies and labels change as it does.
    """

    def __init__(self, options: ServerOptions):
        """Starts to load the versions of each model, and to poll."""
        self._options = options
        self._managers: dict[str, VersionManager] = {}
        self._lock = threading.Lock()
        self._on_change: Callable[[bool], None] = lambda available: None
        self._closing = threading.Event()
        try:
            self._configure(options.models)
        except BaseException:
            self.close()
            raise
        if options.model_config_file_poll_wait_seconds:
            threading.Thread(target=self._reload_loop, daemon=True).start()

    @property
    def names(self) -> list[str]:
        """Names of the models, in the order of the options."""
        return list(self._managers)

    def __contains__(self, name: str) -> bool:
        return name in self._managers

    def wait(self, is_cancelled: Callable[[], bool] = lambda: False) -> None:
        """Waits until each model is available, or START_SECS have passed.

        Args:
          is_cancelled: a function that returns True to end the wait.
        """
        end = time.monotonic() + START_SECS
        for manager in self._managers.values():
            while not (manager.is_settled or is_cancelled()):
                if time.monotonic() > end:
                    return
                time.sleep(0.02)

    def close(self) -> None:
        """Unloads all models after their last requests."""
        self._closing.set()
        for manager in self._managers.values():
            manager.close()

    def on_change(self, callback: Callable[[bool], None]) -> None:
        """Calls a function, now and after every change.

        Args:
          callback: a function of whether all models are available.
        """
        self._on_change = callback
        self._changed()

    def use(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> AbstractContextManager[ModelVersion]:
        """As `VersionManager.use` of the model with this name."""
        return self._manager(name).use(name, version, label)

    def statuses(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> list[VersionStatus]:
        """As `VersionManager.statuses` of the model with this name."""
        return self._manager(name).statuses(name, version, label)

    def _manager(self, name: str) -> VersionManager:
        # Any manager refuses the name of a model that does not exist.
        managers = self._managers
        return managers.get(name) or next(iter(managers.values()))

    def _changed(self) -> None:
        with self._lock:
            managers = self._managers.values()
            self._on_change(all(m.is_available for m in managers))

    def _configure(self, configs: Mapping[str, ModelConfig]) -> None:
        """Serves these models, policies and labels from now on."""
        old, managers = self._managers, {}
        try:
            for name, config in configs.items():
                manager = old.get(name)
                if manager and manager.config.base_path == config.base_path:
                    manager.configure(config)
                else:
                    manager = VersionManager(name, config, self._options)
                    manager.on_change(lambda available: self._changed())
                managers[name] = manager
            self._managers = managers
        finally:
            # Those that are removed or, after an error, those that are new.
            current = self._managers.values()
            for manager in {*old.values(), *managers.values()} - {*current}:
                manager.close()
        self._changed()

    def _reload_loop(self) -> None:
        path = self._options.model_config_file
        configs = dict(self._options.models)
        reason = ""
        while not self._closing.wait(
            self._options.model_config_file_poll_wait_seconds
        ):
            last, reason = reason, ""
            try:
                new = model_config.read(path)
                if new != configs:
                    check_models(new)
                    self._configure(new)
                    configs = new
                    _LOG.info("%s is in effect", path)
            except (ConfigError, UsageError, UserError, OSError) as error:
                reason = str(error)
                if reason != last:
                    _LOG.warning("the models stay as they are: %s", reason)
