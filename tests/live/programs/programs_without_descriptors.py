"""Read the programs of commands while no file descriptor is free."""

import os
import resource
import subprocess
import warnings

from procconn import EventMask, Exec, ProcConnector

warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
with ProcConnector(EventMask.EXEC, programs=True) as connector:
    reading, writing = os.pipe()
    script = ["sh", "-c", "read line; exec sleep 100"]
    children = [subprocess.Popen(script, stdin=reading) for _ in range(20)]
    pids = {child.pid for child in children}
    programs = (
        event.program
        for event in connector
        if isinstance(event, Exec) and event.program and event.pid in pids
    )
    for _ in children:
        next(programs)
    filler = []
    try:
        while True:
            filler.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for _ in children:  # on a slow machine some are read too late
        os.write(writing, b"\n")  # releases one of the children
        program = next(programs)
        if program.argv:
            break
    for descriptor in filler:
        os.close(descriptor)
    for child in children:
        child.kill()
        child.wait()
print(program.argv, program.exe is not None)
