#!/usr/bin/awk -f
# Tables of what sharing.sh measured.
function text(key) { return match($0, "\"" key "\": \"[^\"]*\"") ? substr($0, RSTART + length(key) + 5, RLENGTH - length(key) - 6) : "" }
function num(key) { return match($0, "\"" key "\": -?[0-9.]+") ? substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 4) + 0 : 0 }
function members(key,   s) { s = match($0, "\"" key "\": {[^}]*}") ? substr($0, RSTART + length(key) + 5, RLENGTH - length(key) - 6) : ""; gsub(/"/, "", s); return s }
# "directory: 1.00, group: 0.25" -> "directory, 0.25 group"; what is there less than once in twenty is left out
function locks(s,   n, p, i, kv, out) {
	n = split(s, p, ", ")
	for (i = 1; i <= n; i++) {
		split(p[i], kv, ": ")
		if (kv[2] < 0.05) continue
		out = out (out ? ", " : "") (kv[2] > 0.95 && kv[2] < 1.05 ? "" : sprintf("%.2g ", kv[2])) kv[1]
	}
	return out
}
/"op": "probe"/ { next }
/"where"/ {
	op = text("op"); scope = text("scope"); w = text("where"); m = num("line_moves"); u = text("under")
	all = scope ~ /^own/
	sub(/ \(.*/, "", w)
	if (all) of_all[op, w] = 1
	if (m < 0.2 || !all && (op, w) in of_all) next
	kind = (all ? "all threads" : "users of " scope) (u ? ", under the " u " lock" : ", under no lock")
	if (!(kind in seen)) { seen[kind] = 1; kinds[++nkinds] = kind }
	if (!((kind, w) in seen)) { seen[kind, w] = 1; list[kind, ++n[kind]] = w }
	sum[kind, w, op] += m
	if (!((kind, op) in seen)) { seen[kind, op] = 1; kops[kind, ++nk[kind]] = op }
	next
}
/"moves"/ {
	if (!head++) {
		print "| operation | | locks | atomic instructions | lines written: media / memory | lines taken from others |"
		print "| --- | --- | --- | --- | --- | --- |"
	}
	printf "| %s | %s | %s | %.0f | %.0f / %.0f | %.1f |\n", text("op"), text("scope"), locks(members("locks")), num("atomics"), num("media"), num("memory"), num("moves")
}
function where(kind, w,   i, out, op, v) {
	for (i = 1; i <= nk[kind]; i++) {
		op = kops[kind, i]; v = sum[kind, w, op]
		if (v >= 0.2) out = out (out ? ", " : "") op (v > 0.95 && v < 1.05 ? "" : sprintf(" %.1f", v))
	}
	return out
}
END {
	print "\nThose lines, by whom they are taken from, and the function that takes them (times an operation, if not once):\n"
	for (k = 1; k <= nkinds; k++) {
		out = ""
		for (i = 1; i <= n[kinds[k]]; i++) {
			w = list[kinds[k], i]; x = where(kinds[k], w)
			if (x) out = out (out ? "; " : "") "`" w "`: " x
		}
		if (out) print "- *" kinds[k] "*: " out
	}
}
