import asyncio, concurrent.futures, ctypes, datetime, decimal, email, hashlib, http.client, json, logging, math
import multiprocessing, os, pathlib, random, re, socket, sqlite3, ssl, statistics, struct, subprocess, tempfile
import threading, time, unittest, urllib.parse, uuid, xml.etree.ElementTree, zlib

total = []
threads = [threading.Thread(target=total.append, args=(n,)) for n in range(10)]
[t.start() for t in threads], [t.join() for t in threads]
print("threads", len(total))
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print("pool", sum(pool.map(abs, range(-9, 0))))
print("subprocess", subprocess.run(["/bin/echo", "child"], capture_output=True, text=True).stdout.strip())
print("shell", subprocess.check_output("echo a | tr a b", shell=True, text=True).strip())
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "note")
    path.write_text("kept")
    print("tempfile", path.read_text())
db = sqlite3.connect("rows.db")
db.execute("create table t (x int)")
db.executemany("insert into t values (?)", [(1,), (2,)])
db.commit()
print("sqlite", *db.execute("select sum(x) from t").fetchone())


async def soon():
    await asyncio.sleep(0.01)
    process = await asyncio.create_subprocess_exec("/bin/echo", "later", stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode().strip()


print("asyncio", asyncio.run(soon()))


def square(queue, n):
    queue.put(n * n)


context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
process = context.Process(target=square, args=(queue, 7))
process.start(), process.join()
print("multiprocessing", queue.get())
left, right = socket.socketpair()
left.send(b"pair")
print("socket", right.recv(9).decode())
