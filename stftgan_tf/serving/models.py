"""The models of a server, each with its versions."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from stftgan_tf.serving.model import ModelVersion
from stftgan_tf.serving.options import ServerOptions
from stftgan_tf.serving.versions import VersionManager, VersionStatus


class Models:
    """Finds models by their names in requests.

    Attributes:
      names: names of the models, in the order of the options.
    """

    def __init__(self, options: ServerOptions):
        """Starts to load the versions of each model, and to poll."""
        self.names = list(options.models)
        self._managers: dict[str, VersionManager] = {}
        try:
            for name, config in options.models.items():
                self._managers[name] = VersionManager(name, config, options)
        except BaseException:
            self.close()
            raise

    def wait(self, is_cancelled: Callable[[], bool] = lambda: False) -> None:
        """Waits until no load is in progress, except those that may hang.

        Args:
          is_cancelled: a function that returns True to end the wait.
        """
        for manager in self._managers.values():
            while not manager.is_settled and not is_cancelled():
                time.sleep(0.02)

    def close(self) -> None:
        """Unloads all models after their last requests."""
        for manager in self._managers.values():
            manager.close()

    def on_change(self, callback: Callable[[bool], None]) -> None:
        """Calls a function, now and after every change.

        Args:
          callback: a function of whether all models are available.
        """
        available = dict.fromkeys(self.names, False)

        def listener(name: str) -> Callable[[bool], None]:
            def changed(value: bool) -> None:
                available[name] = value
                callback(all(available.values()))

            return changed

        for name, manager in self._managers.items():
            manager.on_change(listener(name))

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
        return self._managers.get(name, self._managers[self.names[0]])
