"""Start 30 commands and check their programs, as an ordinary user."""

import subprocess
import warnings

from procconn import EventMask, Exec, ProcConnector

warnings.simplefilter("ignore")
with ProcConnector(EventMask.EXEC, programs=True) as connector:
    numbers: dict[int, str] = {}
    for number in range(30):
        with subprocess.Popen(["sh", "-c", f"exec true {number}"]) as process:
            numbers[process.pid] = str(number)
    subprocess.run(["true", "last"], check=True)
    found: list[Exec] = []
    while events := connector.recv_many(1):
        found += [it for it in events if isinstance(it, Exec) and it.pid in numbers]
        if len(found) == 60:
            break
for event in found:
    last, program = numbers[event.pid], event.program
    right = {("sh", "-c", f"exec true {last}"), ("true", last)}
    assert program is not None
    assert program.argv in right if program.argv else program.missing, event
print(len(found))
