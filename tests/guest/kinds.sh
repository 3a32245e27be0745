#!/bin/bash
# Kinds of persistent and other memory beside NVDIMMs, a volume on each: memmap=, virtio-pmem, soft-reserved memory (dax_hmem, without an
# ndctl namespace, where libpmem2's own ways of opening crash), CXL type 3.
# kinds.sh BIN: starts a guest for each.
set -u
here=$(cd "${0%/*}" && pwd)
guest() { "$here/pmem-guest" --kernel "${HF_GUEST_KERNEL:-6.1}" --cpus 1 --timeout 300 "$@"; }
export PATH=$1:$PATH
if [ -z "${IN_GUEST:-}" ]; then
	command -v qemu-system-x86_64 >/dev/null || { echo "skipped: no QEMU"; exit 77; }
	export IN_GUEST=1
	tmp=$(mktemp -d "${TMPDIR:-/dev/shm}/kinds.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	truncate -s 256M "$tmp/virtio" "$tmp/cxl" && truncate -s 256K "$tmp/labels"
	failed=0
	guest --mode none --append "memmap=256M!512M" --qemu -m --qemu 1G,maxmem=8G,slots=4 \
		--qemu -object --qemu "memory-backend-file,id=vp,share=on,mem-path=$tmp/virtio,size=256M" \
		--qemu -device --qemu virtio-pmem-pci,memdev=vp -- "$here/kinds.sh" "$1" namespaces || failed=1
	guest --mode hmem --size 256M -- "$here/kinds.sh" "$1" hmem || failed=1
	guest --mode none --bios '' --qemu -machine --qemu cxl=on,cxl-fmw.0.targets.0=cxl.1,cxl-fmw.0.size=4G \
		--qemu -object --qemu "memory-backend-file,id=cm,share=on,mem-path=$tmp/cxl,size=256M" \
		--qemu -object --qemu "memory-backend-file,id=lsa,share=on,mem-path=$tmp/labels,size=256K" \
		--qemu -device --qemu pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl.1 \
		--qemu -device --qemu cxl-rp,port=0,bus=cxl.1,id=rp0,chassis=0,slot=2 \
		--qemu -device --qemu cxl-type3,bus=rp0,memdev=cm,lsa=lsa,id=cxl0 -- "$here/kinds.sh" "$1" cxl || failed=1
	exit $failed
fi
tmp=/dev/shm/kinds
mkdir -p $tmp
failed=0
fail() { echo "FAILED: $*"; failed=1; }
quiet() { "$@" >$tmp/out 2>&1 || fail "'$*': $(cat $tmp/out)"; }
till() { for _ in $(seq 100); do [ -e "$1" ] && return; sleep 0.05; done; fail "there is no $1"; }

# volume KIND DEV SURVIVES: made, filled, killed, checked, read
volume() {
	local kind=$1 dev=$2 pid how=killed
	quiet mkfs.holdfast -f "$dev"
	holdfast info "$dev" | grep -q "^survives *$3\$" || fail "$kind: $(holdfast info "$dev")"
	quiet holdfast put "$dev" "$here" /tree
	holdfast put "$dev" $tmp/big /big >/dev/null &
	pid=$!
	sleep 0.25
	kill -9 $pid 2>/dev/null || how="too quick to be killed"
	wait $pid 2>/dev/null
	quiet fsck.holdfast "$dev"
	rm -rf $tmp/back
	quiet holdfast get "$dev" /tree $tmp/back
	diff -r "$here" $tmp/back >$tmp/out || fail "$kind: the tree: $(cat $tmp/out)"
	quiet fsck.holdfast "$dev"
	[ $failed = 0 ] && echo "$kind: $dev, $3, $how, kernel $(uname -r)"
}
head -c 128M /dev/zero >$tmp/big

namespaces() {
	local n
	modprobe -a nfit nd_e820 virtio_pmem nd_pmem device_dax dax_pmem 2>/dev/null || fail modprobe
	till /sys/bus/nd/devices/namespace1.0
	for n in 0 1; do
		quiet ndctl create-namespace -f -e namespace$n.0 --mode=devdax --map=mem
		till /dev/dax$n.0
	done
	volume "memmap=" /dev/dax0.0 process-crash
	volume "virtio-pmem" /dev/dax1.0 process-crash
}

cxl_memory() {
	modprobe -a cxl_acpi cxl_pci cxl_port cxl_mem cxl_pmem nd_pmem device_dax dax_pmem 2>/dev/null || fail modprobe
	if [[ $(uname -r) != 6.1.* ]] && sleep 3 && [ ! -e /sys/bus/cxl/devices/mem0 ]; then
		echo "CXL type 3: no volume, kernel $(uname -r): it does not take QEMU's device"
		return
	fi
	till /sys/bus/cxl/devices/mem0
	cxl enable-memdev mem0 >/dev/null 2>&1
	quiet cxl create-region -m -d decoder0.0 -t pmem -w 1 mem0
	quiet ndctl create-namespace -f --mode=devdax --map=mem
	till /dev/dax0.0
	if mkfs.holdfast -f /dev/dax0.0 >$tmp/said 2>&1; then
		volume "CXL type 3" /dev/dax0.0 power-fail
	else
		grep -q "the device does not keep what is stored" $tmp/said || fail "CXL: $(cat $tmp/said)"
		echo "CXL type 3: no volume, kernel $(uname -r): $(cat $tmp/said)"
	fi
}

case $2 in
namespaces) namespaces ;;
hmem) volume "soft-reserved (dax_hmem)" /dev/dax0.0 process-crash ;;
cxl) cxl_memory ;;
esac
exit $failed
