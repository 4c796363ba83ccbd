"""Start 30 commands as an ordinary user, and check their programs."""

import subprocess
import warnings

from procconn import EventMask, Exec, ProcConnector

warnings.simplefilter("ignore")
with ProcConnector(EventMask.EXEC, programs=True) as connector:
    serials: dict[int, str] = {}
    for serial in range(30):
        with subprocess.Popen(["sh", "-c", f"exec true {serial}"]) as process:
            serials[process.pid] = str(serial)
    subprocess.run(["true", "last"], check=True)
    found: list[Exec] = []
    while events := connector.recv_many(1):
        found += [e for e in events if isinstance(e, Exec) and e.pid in serials]
        if len(found) == 60:
            break
for event in found:
    own, program = serials[event.pid], event.program
    expected = {("sh", "-c", f"exec true {own}"), ("true", own)}
    assert program is not None
    assert program.argv in expected if program.argv else program.missing, event
print(len(found))
