#!/bin/bash
# Devices in a wrong mode, and mistakes with them: each is told by one sentence, the same from every tool, and changes nothing.
# modes.sh BIN DEVICE_FAULTS: starts a guest with two devices, and prints a table at the end.
set -u
here=$(cd "${0%/*}" && pwd)
if [ -z "${PMEM_DEV:-}" ]; then
	command -v qemu-system-x86_64 >/dev/null || { echo "skipped: no QEMU"; exit 77; }
	exec "$here/pmem-guest" --kernel "${HF_GUEST_KERNEL:-6.1}" --count 2 --size 256M --timeout 800 -- "$here/modes.sh" "$@"
fi
export PATH=$1:$PATH
faults=$2
d0=/dev/dax0.0 d1=/dev/dax1.0
tmp=/dev/shm/modes
mkdir -p $tmp/mnt
failed=0
table=()
fail() { echo "FAILED: $*"; failed=1; }
modprobe -a fuse kmem || fail "modprobe"
# Else the kernel (6.12) begins to use what becomes system-ram at once, and does not give it back.
echo offline >/sys/devices/system/memory/auto_online_blocks || fail "auto_online_blocks"

row() { table+=("| $1 | $2 | $3 |"); }
# tell SITUATION WANTED-STATUS PART-OF-THE-SENTENCE COMMAND...: runs it, and notes status and sentence for the row.
tell() {
	local what=$1 status=$2 text=$3 got out
	shift 3
	out=$("$@" 2>&1 </dev/null)
	got=$?
	[ $got = "$status" ] || fail "$what: '$*' ended with status $got, not $status: $out"
	[[ $out == *"$text"* ]] || fail "$what: '$*' said '$out', not '$text'"
	ran="${ran:+$ran, }${1##*/}${2:+$([[ $2 == -* || $1 == holdfast ]] && echo " $2")} $got"
	said=${out%%$'\n'*}
	said=${said#*: }
}
# every SITUATION DEVICE PART: all tools say it.
every() {
	local what=$1 dev=$2 text=$3
	ran=
	tell "$what" 1 "$text" mkfs.holdfast "$dev"
	tell "$what" 1 "$text" mkfs.holdfast -f "$dev"
	tell "$what" 8 "$text" fsck.holdfast "$dev"
	tell "$what" 8 "$text" fsck.holdfast -y "$dev"
	tell "$what" 1 "$text" holdfast ls "$dev" /
	tell "$what" 1 "$text" holdfast put "$dev" /etc/hostname /new
	tell "$what" 1 "$text" mount.holdfast "$dev" $tmp/mnt
	row "$what" "$ran" "${said#cannot mount: }"
	mountpoint -q $tmp/mnt && { fail "$what: mounted"; umount $tmp/mnt; }
}
unchanged() { [ "$("$faults" sum $d0)" = "$before" ] || fail "$1: the device was changed"; }
quiet() { "$@" >$tmp/out 2>&1 || fail "'$*': $(cat $tmp/out)"; }
till() { for _ in $(seq 200); do [ -e "$1" ] && return; sleep 0.05; done; fail "there is no $1"; }
namespace() { # of the second device, as the rest says
	quiet ndctl create-namespace -f -e namespace1.0 "$@"
}

u0=00112233-4455-6677-8899-aabbccddeeff u1=ffeeddcc-bbaa-9988-7766-554433221100
quiet mkfs.holdfast -f -U $u0 $d0
quiet mkfs.holdfast -f -U $u1 $d1
quiet holdfast put $d0 /etc/passwd /passwd
before=$("$faults" sum $d0)

# ---- what is there is not ours, or not the one
ran=
tell "a volume is there" 1 "holds a holdfast volume; it would be lost" mkfs.holdfast $d0
row "a volume is there already" "$ran" "$said"
unchanged "mkfs without -f"
ran=
quiet mkfs.holdfast -f $d1
quiet "$faults" store $d1 0 "................"
tell "non-zero content" 1 "holds non-zero content at byte 0" mkfs.holdfast $d1
row "non-zero content" "$ran" "$said"
ran=
quiet "$faults" store $d1 1080 $'\x53\xef'
tell "a foreign filesystem" 1 "holds an ext2, ext3 or ext4 file system" mkfs.holdfast $d1
row "a foreign filesystem" "$ran" "$said"
quiet mkfs.holdfast -s 300M $tmp/larger
quiet "$faults" copy $tmp/larger $d1
rm $tmp/larger
ran=
for c in "fsck.holdfast $d1" "holdfast ls $d1 /" "holdfast put $d1 /etc/hostname /new" "mount.holdfast $d1 $tmp/mnt"; do
	s=1
	[[ $c == fsck* ]] && s=4
	# shellcheck disable=SC2086
	tell "a device smaller than its superblock says" $s "the volume says 314572800 bytes, the device has 266338304" $c
done
row "a device smaller than its superblock says" "$ran" "${said#cannot mount: }"
quiet mkfs.holdfast -f -U $u1 $d1
mv $d0 /dev/was0 && mv $d1 $d0 && mv /dev/was0 $d1
ran=
tell "two devices swapped" 1 "holds the volume $u1, and not $u0, which was asked for" mount.holdfast -o uuid=$u0 $d0 $tmp/mnt
row "two devices swapped" "$ran" "${said#cannot mount: }"
quiet mount.holdfast -o uuid=$u0 $d1 $tmp/mnt
quiet umount $tmp/mnt
mv $d0 /dev/was0 && mv $d1 $d0 && mv /dev/was0 $d1
quiet mount.holdfast -o uuid=$u0 $d0 $tmp/mnt
before=$("$faults" sum $d0)

# ---- somebody has it
server=$(holdfast busy --json $d0 | sed -n 's/.*"owner": \([0-9]*\),*/\1/p')
mkdir $tmp/other
ran=
before=$("$faults" sum $d0)
for c in "mkfs.holdfast $d0" "mkfs.holdfast -f $d0" "holdfast ls $d0 /" "holdfast put $d0 /etc/hostname /new" "mount.holdfast $d0 $tmp/other" "fsck.holdfast $d0"; do
	s=1
	[[ $c == fsck* ]] && s=8
	# shellcheck disable=SC2086
	tell "mounted by another process" $s "in use by process $server, mounted on $tmp/mnt" $c
done
row "mounted by another process" "$ran" "$said"
unchanged "mounted by another process"
quiet umount $tmp/mnt
before=$("$faults" sum $d0)
chmod o+w $d0
every "everybody may write to it" $d0 "everybody may write to it"
chmod o-w $d0
u=(setpriv --reuid 65534 --regid 65534 --clear-groups)
ran=
for c in "mkfs.holdfast $d0" "mkfs.holdfast -f $d0" "holdfast ls $d0 /" "holdfast put $d0 /etc/hostname /new" "fsck.holdfast $d0"; do
	s=1
	[[ $c == fsck* ]] && s=8
	# shellcheck disable=SC2086
	set -- $c
	tell "no permission" $s "no permission to open it (mode 0600, owner 0:0, this is user 65534)" "${u[@]}" "$(command -v "$1")" "${@:2}"
done
row "no permission" "each as user 65534: 1, fsck.holdfast 8" "$said"
unchanged "no permission"

# ---- drivers
quiet daxctl reconfigure-device --mode=system-ram --no-online --force dax0.0
every "system-ram mode (driver kmem)" $d0 "in system-ram mode, the kernel uses it as memory; 'daxctl reconfigure-device --mode=devdax --force dax0.0'"
quiet daxctl reconfigure-device --mode=devdax --force dax0.0
unchanged "system-ram mode"
quiet daxctl disable-device dax0.0
every "no driver" $d0 "the device has no driver; 'daxctl enable-device dax0.0' gives it one"
quiet daxctl enable-device dax0.0
unchanged "no driver"
quiet ndctl disable-namespace namespace0.0
every "its namespace is disabled or gone" $d0 "there is no such device: 'daxctl list'"
[ -e $d0 ] && fail "a file was made among the devices"
echo 1 >/sys/bus/nd/devices/region0/read_only
quiet ndctl enable-namespace namespace0.0
till $d0
unchanged "the namespace is disabled"

# ---- a read-only region: looking works
ran=
for c in "mkfs.holdfast $d0" "mkfs.holdfast -f $d0" "holdfast put $d0 /etc/hostname /new" "mount.holdfast $d0 $tmp/mnt" "fsck.holdfast -y $d0"; do
	s=1
	[[ $c == fsck* ]] && s=8
	# shellcheck disable=SC2086
	tell "a read-only region" $s "its region is read-only; it can be looked at and mounted read-only" $c
done
row "a read-only region" "$ran" "$said"
quiet fsck.holdfast $d0
[ "$(holdfast cat $d0 /passwd | cmp - /etc/passwd 2>&1)" = "" ] || fail "a read-only region cannot be read"
quiet mount.holdfast -o ro $d0 $tmp/mnt
cmp /etc/passwd $tmp/mnt/passwd || fail "a read-only region, mounted"
quiet umount $tmp/mnt
unchanged "a read-only region"
quiet ndctl disable-namespace namespace0.0
echo 0 >/sys/bus/nd/devices/region0/read_only
quiet ndctl enable-namespace namespace0.0
till $d0

# ---- namespaces in other modes: block devices
for m in fsdax:pmem1 sector:pmem1s raw:pmem1; do
	namespace --mode=${m%:*}
	till /dev/${m#*:}
	every "a namespace in ${m%:*} mode" /dev/${m#*:} "'ndctl create-namespace -f -e <namespace> --mode=devdax' makes a dax device of it"
done
namespace --mode=devdax --map=mem --align=4K
till $d1
every "alignment of 4 KiB" $d1 "its alignment is 4096 bytes, a volume needs 2 MiB pages; 'ndctl create-namespace"
namespace --mode=devdax --map=mem --align=2M
till $d1

# ---- taken away while it is mounted
take="daxctl reconfigure-device --mode=system-ram --no-online --force dax1.0 >/dev/null"
back() { quiet daxctl reconfigure-device --mode=devdax --force dax1.0; }
sentence=$("$faults" taken $d1 "$take" 2>&1) || fail "taken away: $sentence"
sentence=$(sed -n 's/^hf_pread: //p' <<<"$sentence")
row "system-ram under a mounted volume" "hf_pread -EIO, changes -EIO, then -ESHUTDOWN, hf_unmount 0" "$sentence"
back
quiet "$faults" unmount $d1 "$take"
back
quiet "$faults" taken $d1 "ndctl disable-namespace namespace1.0 2>/dev/null"
quiet ndctl enable-namespace namespace1.0
till $d1
quiet fsck.holdfast $d1
quiet holdfast put $d1 /etc/passwd /passwd
quiet mount.holdfast $d1 $tmp/mnt
server=$(holdfast busy --json $d1 | sed -n 's/.*"owner": \([0-9]*\),*/\1/p')
sh -c "$take"
ran=
tell "under mount.holdfast" 1 "Input/output error" cat $tmp/mnt/passwd
tell "under mount.holdfast" 1 "Input/output error" mkdir $tmp/mnt/new
kill -0 "$server" || fail "mount.holdfast died"
row "system-ram under mount.holdfast" "$ran" "$said"
quiet umount $tmp/mnt
for _ in $(seq 100); do kill -0 "$server" 2>/dev/null || break; sleep 0.05; done
kill -0 "$server" 2>/dev/null && fail "mount.holdfast does not end"
back
quiet fsck.holdfast $d1

echo "| situation | commands and statuses | what they say |"
echo "| --- | --- | --- |"
printf '%s\n' "${table[@]}"
[ $failed = 0 ] && echo "modes: all as it should be, kernel $(uname -r)"
exit $failed
