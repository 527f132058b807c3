"""`python -m antcli`, so that `accelerate launch -m antcli adapt ...` works."""

from antcli.cli.main import main

if __name__ == "__main__":
    main()
