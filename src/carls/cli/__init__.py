"""The command line: `carls serve`, `carls demo`, `carls bench`."""
