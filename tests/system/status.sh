# Sourced by tests of the tools: $t is a scratch directory, and $bad is 1 once something was wrong. Leaves the last command's output in $t/out and $t/err.

wrong() {
	echo "$*" >&2
	bad=1
}
# What fsck and scrub found is on standard output.
said_why() {
	case "$*" in
	*/fsck.holdfast\ * | */holdfast\ scrub\ *) [ -s "$t/out" ] || [ -s "$t/err" ] ;;
	*) [ -s "$t/err" ] ;;
	esac
}
# status WANT COMMAND...: exits with WANT, says why if that is not 0, and never dies of a signal
status() {
	local want=$1 got
	shift
	"$@" >"$t/out" 2>"$t/err" </dev/null
	got=$?
	if [ "$got" != "$want" ]; then
		wrong "exit status $got, should be $want: $*"
		head -3 "$t/err" >&2
	elif [ "$want" != 0 ] && ! said_why "$@"; then
		wrong "failed without a word: $*"
	fi
}
# json COMMAND...: exits with 0 and prints nothing but JSON on standard output. $json_ok: a program that reads JSON
json() {
	status 0 "$@"
	"$json_ok" <"$t/out" || { wrong "not JSON: $*"; head -3 "$t/out" >&2; }
}
