const kept = [];
for (let n = 0; ; n += 1) kept.push({ n, text: String(n), more: [n, n, n] });
