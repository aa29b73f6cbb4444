// Stands in for ink's `is-in-ci`: agentgate opens a screen only where it has found a person, and then ink is to draw it,
// whatever CI or CONTINUOUS_INTEGRATION hold.
export default false
