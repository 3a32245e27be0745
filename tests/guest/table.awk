#!/usr/bin/awk -f
# The table of run.sh: a line per row and suite, a column per machine, seconds in it. -v out=FOLDER -v machines="A B"
function cell(machine, name) {
	if (!((machine, name) in status)) return "-"
	if (status[machine, name] == 77) return "skipped"
	if (status[machine, name] == 124) return "TIMEOUT"
	if (status[machine, name] != 0) return "FAILED"
	return sprintf("%.1f", ms[machine, name] / 1000)
}
BEGIN {
	n = split(machines, m, " ")
	for (i = 1; i <= n; i++) {
		file = out "/" m[i] "/results"
		while ((getline line < file) > 0) {
			split(line, f, " ")
			if (!(f[2] in row)) order[++suites] = f[2]
			row[f[2]] = f[1]
			status[m[i], f[2]] = f[3]
			ms[m[i], f[2]] = f[4]
			total[m[i]] += f[4]
			if (f[5] != "" && (volumes[f[2]] == "" || f[5] < volumes[f[2]])) volumes[f[2]] = f[5]
		}
	}
	printf "%-10s %-18s %8s", "row", "suite", "volumes"
	for (i = 1; i <= n; i++) printf " %11s", m[i]
	printf "\n"
	for (s = 1; s <= suites; s++) {
		printf "%-10s %-18s %8s", row[order[s]], order[s], volumes[order[s]]
		for (i = 1; i <= n; i++) printf " %11s", cell(m[i], order[s])
		printf "\n"
	}
	printf "%-10s %-18s %8s", "all", "", ""
	for (i = 1; i <= n; i++) printf " %11.1f", total[m[i]] / 1000
	printf "\n"
}
