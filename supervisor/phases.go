package supervisor

// Phases are all that there are, in the order of a life.
func Phases() (all []Phase) {
	for phase := range Phase(numPhases) {
		all = append(all, phase)
	}
	return all
}
