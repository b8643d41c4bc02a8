"""Debian 12's ansible holds a collection openstack.cloud that refuses Debian 12's openstacksdk as too
new, by its version number alone. It is told a number that it takes; nothing else is changed."""
import importlib.util
import sys


class Version:
    def find_spec(self, name, path=None, target=None):
        if name != "openstack.version":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            module.__version__ = "0.98.999"

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Version())
