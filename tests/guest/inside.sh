# Sourced by scripts that run in the machine of pmem-guest.

# A verbs device without hardware: soft-RoCE over a dummy interface whose packets come back.
soft_roce() {
	modprobe -a dummy rdma_rxe ib_uverbs || return
	ip link set lo up
	ip link add hf0 type dummy && ip addr add 192.0.2.1/24 dev hf0 && ip link set hf0 up || return
	rdma link add rxe0 type rxe netdev hf0
}
