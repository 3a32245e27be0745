# Sourced in the guest: waiting for what the kernel does a little later, and the ports to the host.
till() { # CONDITION, some 20 s at most
	i=0
	while ! eval "$1"; do
		i=$((i + 1))
		[ $i -gt 600 ] && return 1
		busybox usleep 20000
	done
}
# they get their names after the driver is there
ports() {
	for p in /sys/class/virtio-ports/*; do
		[ -e "$p/name" ] && read -r n <"$p/name" && [ -n "$n" ] && [ ! -e "/dev/vport_$n" ] && ln -s "${p##*/}" "/dev/vport_$n"
	done
	[ -e /dev/vport_status ] && [ -e /dev/vport_stderr ] && [ -e /dev/vport_stdout ] && [ -e /dev/vport_monitor ]
}
fin() { # STATUS
	echo "$1" >/dev/vport_status
	busybox poweroff -f
}
bad() {
	till ports
	echo "pmem-guest: $*" >/dev/vport_stderr
	fin 125
}
