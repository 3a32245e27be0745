# awk -f tables.awk OUT: the tables of docs/PERFORMANCE.md from what 'holdfast bench' printed to OUT.

function trim(s) {
	gsub(/^ +| +$/, "", s)
	return s
}
function time_of(ns) {
	if (ns >= 1e6)
		return sprintf(ns >= 1e7 ? "%.0f ms" : "%.1f ms", ns / 1e6)
	if (ns >= 1e4)
		return sprintf("%.0f us", ns / 1e3)
	return sprintf(ns < 1e3 ? "%.0f ns" : "%.1f us", ns < 1e3 ? ns : ns / 1e3)
}
function short(x) {
	return x + 0 >= 100 ? sprintf("%.0f", x) : x + 0 >= 10 ? sprintf("%.1f", x) : x
}
function range(s, part) {
	split(s, part, "[.][.]")
	return short(part[1]) " to " short(part[2])
}
# a cell of a table that has a row for each 'row' and a column for each 'col', both in the order in which they come
function cell(t, row, col, text) {
	if (!((t, row) in seen))
		rows[t, ++nrows[t]] = row
	if (!((t, "col", col) in seen))
		cols[t, ++ncols[t]] = col
	seen[t, row] = seen[t, "col", col] = 1
	value[t, row, col] = text
}
function table(t, first,    i, k, line, rule) {
	line = "| " first " |"
	rule = "| --- |"
	for (k = 1; k <= ncols[t]; k++) {
		line = line " " cols[t, k] " |"
		rule = rule " --- |"
	}
	print "\n" line "\n" rule
	for (i = 1; i <= nrows[t]; i++) {
		line = "| " rows[t, i] " |"
		for (k = 1; k <= ncols[t]; k++)
			line = line " " value[t, rows[t, i], cols[t, k]] " |"
		print line
	}
}

/^---/ {
	group = $2
	next
}
group == "media" && !/^per operation/ {
	name = trim(substr($0, 1, 34))
	split(substr($0, 35), f)
	cell("media", name, "lines", f[4])
	cell("media", name, "fences", f[5])
	cell("media", name, "lines at the checkpoint", f[6])
	cell("media", name, "bytes written to bytes given", f[8])
	next
}
group == "latency" && !/^one call/ {
	name = trim(substr($0, 1, 20)) ", " trim(substr($0, 21, 27))
	split(substr($0, 48), f)
	cell("latency", name, "p50", time_of(f[1]))
	cell("latency", name, "p99", time_of(f[3]))
	cell("latency", name, "p99.9", time_of(f[4]))
	cell("latency", name, "p99.99", time_of(f[5]))
	next
}
/^memory of a mount/ {
	split(trim(substr($0, 1, 50)), part, ", ")
	cell("mount", part[2] ", " part[3], "memory", trim(substr($0, 51)))
	next
}
group == "" || group == "media" || group == "latency" {
	next
}
{
	name = trim(substr($0, 1, 50))
	n = split(substr($0, 51), f)
	if (f[1] !~ /^[0-9]+$/)
		next		# a note
	ns = f[1]
	at = 3
	ratio = spread = target = ""
	if (f[2] > 0)
		ratio = f[at++]
	if (f[at] ~ /[.][.]/)
		spread = range(f[at++])
	if (f[at] ~ /^[<>]=$/) {
		target = (f[at] == "<=" ? "" : "at least ") short(f[at + 1])
		at += 2
		if (f[at] == "*") {
			target = target ", missed"
			at++
		}
	}
	with = ""
	for (; at <= n; at++)
		with = with (with == "" ? "" : " ") f[at]
}
target != "" {
	title = name
	if (group == "compare")
		sub(/, times faster/, "", title)
	if (group == "compare")
		with = with ", times faster"
	cell("goals", title, "time", time_of(ns))
	cell("goals", title, "ratio", short(ratio))
	cell("goals", title, "quartiles", spread)
	cell("goals", title, "target", target)
	cell("goals", title, "compared with", with)
}
name ~ /^[0-9]+ threads: / {
	split(name, part, ": ")
	cell("threads", part[2], part[1], short(ratio) " (" spread ")" (with ~ /raw/ ? ", of raw's own" : ""))
}
group == "data" {
	k = split(name, part, ", ")
	match(part[1], / /)
	op = substr(part[1], 1, RSTART - 1)
	size = substr(part[1], RSTART + 1)
	row = op
	for (i = 2; i <= k; i++)
		row = row ", " part[i]
	cell("data", row, size, time_of(ns) ", " short(ratio))
}
group == "names" && / among / {
	split(name, part, ", among ")
	cell("names", part[1], part[2] " names", time_of(ns) (ratio == "" ? "" : ", " short(ratio)))
}
group == "volume" {
	split(name, part, ", ")
	cell("mount", part[2] ", " part[3], part[1], time_of(ns))
}
group == "compare" {
	sub(/, times faster/, "", name)
	sub(/, times faster/, "", with)
	if (with ~ /^(tmpfs|ext4)/)
		cell("kernel", name, with, short(ratio))
	else
		cell("library", name, with, short(ratio))
}
END {
	table("goals", "operation")
	table("data", "time of a call, and ratio")
	table("names", "time of a call, and ratio")
	table("mount", "volume")
	table("media", "operation")
	table("latency", "one call")
	table("kernel", "times faster than")
	table("threads", "times the throughput of one thread")
	for (i = 1; i <= nrows["library"]; i++)
		for (k = 1; k <= ncols["library"]; k++)
			if ((v = value["library", rows["library", i], cols["library", k]]) != "")
				print (i + k == 2 ? "\n" : "") "- " rows["library", i] ": " v " times faster than " cols["library", k]
}
