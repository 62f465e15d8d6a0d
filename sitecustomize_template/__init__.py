"""The start-up shim, as the module that the installer writes into site-packages."""
