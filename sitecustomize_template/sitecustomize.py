# >>> dbx-patch >>> (the whole file is dbx-patch's)
# Loads the start-up shim of dbx-patch, which makes editable installs importable on Databricks.
# `python -m dbx_patch.uninstall` removes these lines. You can also delete them by hand.
try:

    def _dbx_patch(name: str = "dbx_patch_sitecustomize", path: str = "") -> None:
        import _frozen_importlib_external as importlib_external
        import sys

        if name not in sys.modules:
            code = importlib_external.SourceFileLoader(name, path).get_code(name)
            module = sys.modules[name] = type(sys)(name)
            module.__file__ = path
            exec(code, vars(module))  # type: ignore[arg-type]  # a source file has code

    _dbx_patch()
    del _dbx_patch
except BaseException:  # a SystemExit that leaves a start-up file would end the interpreter
    pass
# <<< dbx-patch <<<
