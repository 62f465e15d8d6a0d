"""Editable Python installs that work in Databricks notebooks."""

from dbx_patch.sitecustomize_template.sitecustomize import VERSION as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dbx_patch._here import patch_and_install
    from dbx_patch._inventory import (
        EditableInstall,
        Shadow,
        Verification,
        editable_installs,
        verify_editable_installs,
    )
    from dbx_patch._patches import (
        HookStatus,
        PatchStatus,
        check_patch_status,
        patch_dbx,
        remove_all_patches,
    )

__all__ = [
    "EditableInstall",
    "HookStatus",
    "PatchStatus",
    "Shadow",
    "Verification",
    "__version__",
    "check_patch_status",
    "editable_installs",
    "patch_and_install",
    "patch_dbx",
    "remove_all_patches",
    "verify_editable_installs",
]


def __getattr__(name: str) -> object:
    """Import what is asked for, so that `import dbx_patch` costs next to nothing (:pep:`562`)."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from dbx_patch import _here, _inventory, _patches  # noqa: PLC0415  # see above

    return next(getattr(module, name) for module in (_patches, _inventory, _here) if hasattr(module, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
