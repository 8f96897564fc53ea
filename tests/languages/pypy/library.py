import asyncio, collections, decimal, json, os, re, sqlite3, subprocess, tempfile, threading

total = []
threads = [threading.Thread(target=total.append, args=(n,)) for n in range(10)]
[t.start() for t in threads], [t.join() for t in threads]
print("threads", len(total))
print("subprocess", subprocess.check_output(["/bin/echo", "child"], text=True).strip())
with tempfile.NamedTemporaryFile("w+") as file:
    file.write("kept")
    file.seek(0)
    print("tempfile", file.read())
db = sqlite3.connect("rows.db")
db.execute("create table t (x int)")
db.execute("insert into t values (3)")
db.commit()
print("sqlite", *db.execute("select sum(x) from t").fetchone())
print("loop", sum(i * i % 7 for i in range(2_000_000)))
