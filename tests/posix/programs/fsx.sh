#!/bin/bash
# fsx on the mount, by the page cache and past it. fsx.sh BIN FSX [OPERATIONS]
bin=$1 fsx=$2 ops=${3:-10000}
. "$(dirname "$0")/../mounted.sh"
volume 64M
mount_volume
"$fsx" --seed 1 --ops "$ops" mount "$mnt" || fail "through the page cache"
unmount_volume
check_volume
mount_volume direct_io
"$fsx" --seed 2 --ops "$ops" mount "$mnt" || fail "direct_io"
unmount_volume
check_volume
