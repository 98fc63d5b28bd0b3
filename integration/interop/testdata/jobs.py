# A person at a shell with job control: a program is stopped by Ctrl-Z, put into the
# foreground again, and ended by Ctrl-C. usage: jobs.py COMMAND...
import os, pty, select, shlex, sys, time

pid, terminal = pty.fork()
if pid == 0:
    os.environ["PS1"] = "ready> "
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
said = b""


def until(what, seconds=60):
    global said
    end = time.monotonic() + seconds
    while what not in said:
        if time.monotonic() > end or not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            sys.exit("no %r in %r" % (what, said))
        said += os.read(terminal, 4096)
    said = said.split(what, 1)[1]


def types(b):
    time.sleep(0.3)  # a shell that has just said its prompt may throw away what it has not asked for yet
    os.write(terminal, b)


until(b"ready> ")
# The program says that it is there, in words that the echo of the line does not have.
program = "i=0; echo be''gins; while read x; do echo he''ard $x; done"
types(shlex.join(sys.argv[1:] + ["sh", "-c", program]).encode() + b"\n")
until(b"begins\r")
types(b"one\n")
until(b"heard one")
types(b"\x1a")
until(b"Stopped")
until(b"ready> ")
types(b"jobs\n")
until(b"Stopped")
types(b"fg\n")
until(b"fg\r\n")
types(b"two\n")
until(b"heard two")
types(b"\x03")
until(b"ready> ")
types(b"echo st''atus $?\n")
until(b"status 130")
print("ok")
