"""When and whether: the nightly flow, DVC's stages, the ledger, the gate, releases and the command line."""

import os

# Nothing phones home, and a busy machine may take its time: defaults, which the environment overrules. They are set
# here because each library reads them when it is first imported.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "DVC_NO_ANALYTICS": "true",
    "GX_ANALYTICS_ENABLED": "false",
}.items():
    os.environ.setdefault(_name, _value)
