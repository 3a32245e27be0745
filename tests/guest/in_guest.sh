#!/bin/bash
# Runs, in the guest, the suites of suites.list on $PMEM_DEV or on a file in $PMEM_MNT. For run.sh.
#   in_guest.sh BUILD OUT [ROW|NAME...]      results go to the folder OUT: 'results' has ROW NAME STATUS SECONDS VOLUMES, and a log for each
set -u
build=$1 out=$2
shift 2
src=$(realpath "$(dirname "$0")/../..")
here=$(mktemp -d) || exit 1
cd "$here" || exit 1
dev=$PMEM_DEV
if [ -n "${PMEM_MNT:-}" ]; then
	dev=$PMEM_MNT/volume
fi
export HF_TEST_DEVICE=$dev HF_TEST_DAX=$dev HF_TEST_SHORT=1 HOLDFAST_RUNTIME_DIR=$here/run
case $dev in /dev/*) ;; *) unset HF_TEST_DAX ;; esac
mkdir -m 700 "$HOLDFAST_RUNTIME_DIR"

volume_file() { # some suites remove it
	# a third: XFS wants room for a file once more, as mkfs allocates it, and kill9 makes one of 512 MiB in its place
	fallocate -l "$(($(df --output=avail -B1 "$PMEM_MNT" | tail -1) * 3 / 10 / 2097152 * 2097152))" "$dev" && chmod 600 "$dev"
}

wanted() { # ROW NAME WANTED...
	local row=$1 name=$2 w
	shift 2
	[ $# -gt 0 ] || return 0
	for w in "$@"; do [ "$w" = "$row" ] || [ "$w" = "$name" ] && return 0; done
	return 1
}

failed=0
while read -r row name command; do
	case $row in '' | '#'*) continue ;; esac
	wanted "$row" "$name" "$@" || continue
	[[ " ${HF_GUEST_LEFT_OUT:-} " != *" $name "* ]] || continue
	command=${command//@DEV@/$dev}
	command=${command//@BIN@/$build/tests}
	command=${command//@TOOLS@/$build/src/tools}
	command=${command//@SRC@/$src}
	[ -e "$dev" ] || volume_file || exit 1
	t0=$(date +%s%N)
	timeout -k 5 "${HF_GUEST_LIMIT:-300}" $command >"$out/$name.log" 2>&1 </dev/null
	status=$?
	ms=$((($(date +%s%N) - t0) / 1000000))
	echo "$row $name $status $ms $(sed -n 's/^device: \([0-9]*\) volumes.*/\1/p' "$out/$name.log" | tail -1)" >>"$out/results"
	[ "$status" = 0 ] || [ "$status" = 77 ] || failed=1
done <"$src/tests/guest/suites.list"
cd /
rm -rf "$here"
exit $failed
