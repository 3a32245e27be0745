#!/usr/bin/awk -f
# A closed queueing network of what sharing.sh measured: n threads, each of which does an operation, then the next.
#
#   contention.awk [-v line_ns=80] [-v lanes=8] [-v media_gbs=0] FILE
#     line_ns    to get a line from another processor
#     lanes      of the journal
#     media_gbs  what all threads together can write to the media, GB/s (0: no limit)
#
# Stations, where one is served at a time: each lock that others have too, for as long as it is held plus the lines taken under it; each
# line that is taken outside of locks, for line_ns. The rest (time by itself; lines of which there are many) delays, but nobody waits.
# Exact mean value analysis of one class, by n; the lanes are one station of 'lanes' servers (Seidmann's approximation). Prints the
# throughput in units of one thread's, and which station has how much of the time at most: 1 / its share is where the curve ends.
function text(key) { return match($0, "\"" key "\": \"[^\"]*\"") ? substr($0, RSTART + length(key) + 5, RLENGTH - length(key) - 6) : "" }
function num(key) { return match($0, "\"" key "\": -?[0-9.]+") ? substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 4) + 0 : 0 }
# The quietest of the runs: what others on the machine do only adds
function least(list,   v, n, i, x) {
	n = split(list, v, " ")
	x = v[1] + 0
	for (i = 2; i <= n; i++) if (v[i] + 0 < x) x = v[i] + 0
	return x
}
BEGIN { if (!line_ns) line_ns = 80; if (!lanes) lanes = 8 }
{ key = text("op") ", " text("scope") }
/"op": "probe"/ { next }
/"where"/ {
	w = text("where"); u = text("under"); l = text("lock"); m = num("line_moves"); hot = num("hottest")
	if (hot > m) hot = m
	sub(/ \(.*/, "", w); sub(/ \(.*/, "", l)
	if (!u) {
		c = text("caller"); sub(/ \(.*/, "", c); w = w "` of `" c
		add_station(key, w); lines[key, w] += hot
		spread[key] += m - hot
		next
	}
	s = station_of(u, l)
	add_station(key, s); lines[key, s] += m
	next
}
/"waits"/ {
	u = text("rank"); l = text("lock"); sub(/ \(.*/, "", l)
	s = station_of(u, l)
	add_station(key, s); rank[key, s] = u; waits[key, s] += num("waits"); hot_waits[key, s] += num("hottest")
	next
}
# small locks are told by who takes them
function station_of(rank, at) { return rank " lock" (rank == "leaf" ? " of " at : "") }
/"moves"/ { media[key] = num("media"); order[++rows] = key; next }
/"held"/ {
	ns[key] = ns[key] " " num("ns")
	s = match($0, "\"held\": {[^}]*}") ? substr($0, RSTART + 9, RLENGTH - 10) : ""
	gsub(/"/, "", s)
	c = split(s, p, ", ")
	for (i = 1; i <= c; i++) { split(p[i], kv, ": "); held[key, kv[1]] = held[key, kv[1]] " " kv[2] }
	s = match($0, "\"exclusive\": {[^}]*}") ? substr($0, RSTART + 14, RLENGTH - 15) : ""
	gsub(/"/, "", s)
	c = split(s, p, ", ")
	for (i = 1; i <= c; i++) { split(p[i], kv, ": "); exclusive[key, kv[1]] = kv[2] }
}
function add_station(k, s) { if (!((k, s) in has)) { has[k, s] = 1; station[k, ++stations[k]] = s } }

# Adds w times what an operation needs, in nanoseconds, to demand[] of its stations, to alone and delay.
function add_operation(k, w,   i, s, r, own, mine, x, share) {
	mine = least(ns[k]); alone += w * mine; x = mine + spread[k] * line_ns
	for (i = 1; i <= stations[k]; i++) {
		s = station[k, i]; own = 0; share = 1
		if (waits[k, s] > 0) {
			r = rank[k, s]
			if (exclusive[k, r] > 0) own = least(held[k, r]) / exclusive[k, r] * waits[k, s]
			share = hot_waits[k, s] / waits[k, s]
		}
		if (own > mine) own = mine
		x -= own
		own += lines[k, s] * line_ns
		x += own * (1 - share)
		demand[s] += w * own * share
	}
	own = least(held[k, "lane"])
	demand["lanes"] += w * own / lanes	# the others are served meanwhile: the rest of it delays
	x -= own / lanes
	if (media_gbs) demand["media"] += w * media[k] * 64 / media_gbs
	delay += w * (x > 0 ? x : 0)
}
# "1 create, own directories; 2 ..." becomes name[] and d[]; returns how many
function network(what,   c, i, p, w, s, n) {
	for (s in demand) delete demand[s]
	alone = delay = n = 0
	c = split(what, p, "; ")
	for (i = 1; i <= c; i++) { w = p[i] + 0; s = p[i]; sub(/^[0-9.]+ /, "", s); if (!(s in ns)) missing(s); add_operation(s, w) }
	for (s in demand) { name[++n] = s; d[n] = demand[s] }
	return n
}
function missing(s) { print "contention.awk: no row \"" s "\" is measured" >"/dev/stderr"; exit 1 }
# Throughput of 1 .. 64 threads: x[]
function mva(stations_n,   n, i, q, r, total) {
	for (i = 1; i <= stations_n; i++) q[i] = 0
	for (n = 1; n <= 64; n++) {
		total = delay
		for (i = 1; i <= stations_n; i++) { r[i] = d[i] * (1 + q[i]); total += r[i] }
		x[n] = n / total
		for (i = 1; i <= stations_n; i++) q[i] = x[n] * r[i]
	}
}
function station_text(i) { return i && d[i] >= 1 ? sprintf("%s, %.0f ns", name[i] ~ / lock|^lanes$|^media$/ ? name[i] : "`" name[i] "`", d[i]) : "" }
function row(title, what,   cnt, i, n, first, second, line) {
	cnt = network(what); mva(cnt)
	for (i = 1; i <= cnt; i++) {
		if (!first || d[i] > d[first]) { second = first; first = i } else if (!second || d[i] > d[second]) second = i
	}
	line = "| " title " | " sprintf("%.0f", alone)
	for (n = 2; n <= 64; n *= 2) line = line " | " sprintf("%.1f", x[n] * alone)
	line = line " | " (first && d[first] >= 1 ? sprintf("%.1f", alone / d[first]) : "-")
	print line " | " station_text(first) " | " station_text(second) " |"
}
END {
	print "One thread by itself, and the throughput of n as a multiple of it: a line from another processor at " line_ns " ns" (media_gbs ? ", media of " media_gbs " GB/s" : "") "."
	print ""
	print "| operation | alone, ns | 2 | 4 | 8 | 16 | 32 | 64 | ends at | bends first at | then at |"
	print "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
	for (r_ = 1; r_ <= rows; r_++) row(order[r_], "1 " order[r_])
	row("*mail*: files of one directory", "1 create, one directory; 1 unlink, one directory; 2 append 4 KiB, own files; 2 read 4 KiB, own files; 2 open + close, one directory")
	row("*file server*: own directories", "1 create, own directories; 1 unlink, own directories; 2 append 4 KiB, own files; 1 read 4 KiB, own files; 2 open + close, own directories; 1 stat, own directories")
	row("*web server*: reads, one log", "10 read 4 KiB, own files; 10 open + close, own directories; 1 append 4 KiB, one file")
	row("*engine*: own logs and pages", "4 read 4 KiB, own files; 1 append 4 KiB, own files; 2 overwrite 4 KiB, own files")
}
