#!/bin/bash
# A database on the mount. Its process is killed in the middle, then the filesystem's; what was committed is there each time.
# sqlite.sh BIN
bin=$1
. "$(dirname "$0")/../mounted.sh"
command -v sqlite3 >/dev/null || skip "sqlite3 is missing"
volume 256M
mount_volume
db=$mnt/base.db

# Inserts one row per transaction and says its number when it has been committed.
writer() {
	local n=$1
	while true; do
		echo "insert into t values($n, hex(randomblob(200)), $n * 7); select max(id) from t where id = $n;"
		n=$((n + 1))
	done 2>/dev/null | sqlite3 -bail "$db" >>"$tmp/committed" 2>/dev/null
}
# check WHAT: nothing is damaged, nothing is missing
check() {
	local last have
	[ "$(sqlite3 "$db" 'pragma integrity_check')" = ok ] || fail "$1: integrity_check"
	last=$(tail -n 1 "$tmp/committed")
	have=$(sqlite3 "$db" 'select count(*) from t where value = id * 7')
	[ -n "$last" ] && [ "$have" -ge "$last" ] || fail "$1: $have rows, $last were committed"
	[ "$(sqlite3 "$db" 'select count(*) = max(id) from t')" = 1 ] || fail "$1: a row is missing in between"
	echo "$1: $last committed, $have there"
	seq "$have" "$have" >"$tmp/committed"
}
# Stops at the last line that is whole.
writer_for() {
	writer "$(($(tail -n 1 "$tmp/committed") + 1))" &
	local job=$!
	sleep "$1"
	pkill -9 -P "$job" sqlite3
	wait "$job" 2>/dev/null
	[ "$(tail -c 1 "$tmp/committed" | od -An -c | tr -d ' ')" = '\n' ] || sed -i '$d' "$tmp/committed"
}

for mode in delete wal; do
	rm -f "$db"*
	sqlite3 "$db" "pragma journal_mode=$mode; pragma synchronous=full; create table t(id integer primary key, text, value);
		create index by_value on t(value);" >/dev/null || fail create
	echo 0 >"$tmp/committed"
	for round in 1 2; do
		writer_for 1
		check "$mode, sqlite killed"
	done
	for round in 1 2; do
		writer "$(($(tail -n 1 "$tmp/committed") + 1))" &
		job=$!
		sleep 1
		kill -9 "$daemon"
		wait "$job" "$daemon" 2>/dev/null
		fusermount3 -uz "$mnt"
		mount_volume
		check "$mode, mount killed"
	done
done
sqlite3 "$db" "begin; delete from t where id % 3 = 0; update t set text = upper(text); commit; vacuum; pragma integrity_check" | grep -qx ok || fail vacuum
unmount_volume
check_volume
