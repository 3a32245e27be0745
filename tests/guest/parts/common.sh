# Sourced by pmem-guest: messages, the cache, and scratch files that are gone afterwards however the program ends.
MIB=1048576
cache=${PMEM_GUEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/holdfast-guest}

die() {
	echo "$me: $*" >&2
	exit 125
}

tools_check() {
	local missing=() t
	for t in qemu-system-x86_64 ndctl busybox cpio depmod xz setpriv; do
		PATH=$PATH:/usr/sbin:/sbin command -v "$t" >/dev/null || missing+=("$t")
	done
	[ ${#missing[@]} -eq 0 ] || die "no ${missing[*]} here: apt-get install --no-install-recommends $packages"
	mkdir -p "$cache" || die "cannot make the cache $cache"
}

# Whoever makes something for the cache: the others wait for him, and look again. 'cached FILE MAKER ARG...'
cached() {
	local file=$1 lock
	shift
	[ -e "$file" ] && return
	exec {lock}>"$cache/lock"
	flock "$lock" || die "cannot lock $cache"
	[ -e "$file" ] || "$@" {lock}>&- || exit 125
	exec {lock}>&-
}

# $scratch is a folder, $shm the beginning of names in /dev/shm. The janitor is held by a pipe: it ends when this program does, even by
# SIGKILL, and then takes both away.
scratch_make() {
	local dir
	dir=$(mktemp -d "${TMPDIR:-/tmp}/pmem-guest.XXXXXX") || exit 125
	scratch=$dir
	shm=/dev/shm/${dir##*/}
	exec {leash}> >(trap '' INT TERM HUP; cat >/dev/null; rm -rf "$scratch" "$shm".*)
	janitor=$!
	trap scratch_clean EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

scratch_clean() {
	[ -z "${machine:-}" ] || kill -KILL "$machine" 2>/dev/null
	[ -z "${machine:-}" ] || wait "$machine" 2>/dev/null
	exec {leash}>&-
	wait "$janitor"
}
