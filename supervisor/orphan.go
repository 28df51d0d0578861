package supervisor

import "time"

// Orphan is the last life of a sidecar that was killed together with its keeper, so that nothing of its memory is left but what the
// driver had noted elsewhere.
type Orphan struct {
	Life Life          // 0: none is known, and lives are numbered from 1
	PID  int           // of its main process, if that is alive and is to go on as it is; 0: it is over, or the driver ends it
	Took time.Duration // with a PID: from its launch until it was ready; its age, if it never was
}

// adopt makes a machine without a record one that has had this life. A life that is alive is looked for and asked whether it is ready,
// as after the death of a runner that was just starting it: nobody can say what it has gone through meanwhile.
func (m *Machine) adopt(o Orphan, now time.Duration) {
	m.Life = o.Life
	if o.PID == 0 {
		return
	}
	m.State, m.PID = Warming, o.PID
	m.Since, m.Launched = now, max(now-o.Took, 1)
}
