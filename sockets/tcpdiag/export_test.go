package tcpdiag

import (
	"net/netip"

	"github.com/prometheus/procfs"
)

// NearestInodes are the sockets of nearestListeners.
func NearestInodes(to netip.AddrPort) ([]uint64, error) {
	found, err := nearestListeners(to)
	var inodes []uint64
	for _, l := range found {
		inodes = append(inodes, l.inode)
	}
	return inodes, err
}

// HoldersOf looks for the holders of one socket, made by the user.
func HoldersOf(inode uint64, uid int) ([]int, error) {
	return holders(procfs.AllProcs, []listener{{inode: inode, uid: uid}})
}
