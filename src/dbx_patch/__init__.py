"""Editable Python installs that work in Databricks notebooks."""

from dbx_patch.sitecustomize_template import template

__version__ = template.VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dbx_patch._doctor import Diagnosis, Report, Step, doctor
    from dbx_patch._fingerprint import fingerprint
    from dbx_patch._inventory import (
        EditableInstall,
        Shadow,
        Verification,
        editable_installs,
        verify_editable_installs,
    )
    from dbx_patch._notebook import (
        check_sitecustomize_status,
        install_sitecustomize,
        patch_and_install,
        uninstall_sitecustomize,
    )
    from dbx_patch._process import PatchStatus, check_patch_status, patch_dbx, remove_all_patches
    from dbx_patch._selftest import SelfTest, selftest
    from dbx_patch._verify import HookStatus
    from dbx_patch.installer import InstallerError

__all__ = [
    "Diagnosis",
    "EditableInstall",
    "HookStatus",
    "InstallerError",
    "PatchStatus",
    "Report",
    "SelfTest",
    "Shadow",
    "Step",
    "Verification",
    "__version__",
    "check_patch_status",
    "check_sitecustomize_status",
    "doctor",
    "editable_installs",
    "fingerprint",
    "install_sitecustomize",
    "patch_and_install",
    "patch_dbx",
    "remove_all_patches",
    "selftest",
    "uninstall_sitecustomize",
    "verify_editable_installs",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import dbx_patch` loads nothing else (:pep:`562`)."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module  # noqa: PLC0415  # see above

    # In this order, so that `patch_dbx` and `fingerprint` work where packaging or platformdirs is missing.
    parts = ("_process", "_fingerprint", "installer", "_notebook", "_inventory", "_doctor", "_selftest")
    modules = (import_module(f"dbx_patch.{part}") for part in parts)
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def __dir__() -> list[str]:
    return list(__all__)
