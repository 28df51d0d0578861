package child

import (
	"context"
	"os"
	"time"

	"autoglm-sidecar/supervisor"
)

// sweepPatience is how long a killed stray may take to be gone: it gives back its GPU memory first.
const sweepPatience = 30 * time.Second

// sweep kills what is left of lives that a sidecar of this name and place had, and that was killed together with its
// keeper: their streams are gone, and a worker must not live beside the next one. Once is enough, since each life of
// ours ends before the next begins.
func (d *Driver) sweep(ctx context.Context) error {
	if d.swept {
		return nil
	}
	strays, err := d.strays()
	if err != nil {
		return err
	}
	for _, id := range strays {
		d.opts.Log.Warn("kill a worker that an earlier sidecar left", "life", id.mark.life, "pid", id.main)
		victims, err := id.kill(nil)
		if err != nil {
			return err
		}
		patient, cancel := context.WithTimeout(ctx, sweepPatience)
		err = id.reclaim(patient, victims, func(string) {})
		cancel()
		if err != nil {
			return err
		}
	}
	d.swept = true
	return nil
}

// strays are the lives of which a process carries a mark of ours, and the one that was noted last if it is alive.
func (d *Driver) strays() (map[supervisor.Life]identity, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	strays := make(map[supervisor.Life]identity)
	ours := ancestry(all, os.Getpid())
	for pid, p := range all {
		if ours[pid] || isDead(p.State) {
			continue
		}
		if life, _ := d.mark(0).read(pid); life != 0 {
			strays[life] = identity{mark: d.mark(life)}
		}
	}
	noted, err := readNote(d.opts.Note)
	if err != nil {
		return nil, err
	}
	if _, marked := strays[noted.Life]; marked || noted.isAlive() && !ours[noted.PID] {
		strays[noted.Life] = identity{mark: d.mark(noted.Life), main: noted.PID, start: noted.Start}
	}
	return strays, nil
}
