package engine

// leastStart is what a session's first ten seconds carry of what TCP alone does, on paths that
// lose nothing: slow start included, which costs a tenth where a round trip is 300 ms long.
const leastStart = 0.93

// bounds are what 8 seeds have shown at worst, and somewhat more room: a twentyfifth of
// the share, and for the small flow, whose worst packet is one that TCP lost in a queue that is
// full beside it, or that met a pause of the machine, a quarter.
var bounds = map[string]bound{
	"baseline":     {0.90, 64, 76},
	"bloated":      {0.90, 45, 84},
	"bw_10to1":     {0.90, 59, 70},
	"bw_4to1":      {0.90, 54, 74},
	"congested":    {0.58, 49, 60},
	"dsl_cable":    {0.90, 32, 55},
	"dual_lte":     {0.85, 95, 122},
	"fiber_lte":    {0.90, 28, 55},
	"flap":         {0.66, 84, 330},
	"jit_20":       {0.83, 153, 313},
	"jit_5":        {0.89, 54, 88},
	"loss_05":      {0.87, 54, 75},
	"loss_1":       {0.61, 70, 228},
	"loss_2":       {0.75, 55, 116},
	"lte_geo":      {0.76, 118, 956},
	"lte_starlink": {0.87, 113, 138},
	"metered":      {0.77, 226, 390},
	"renumber":     {0.88, 66, 174},
	"rtt_120":      {0.87, 65, 215},
	"rtt_320":      {0.80, 54, 580},
	"rtt_40":       {0.90, 40, 65},
	"rtt_70":       {0.89, 64, 215},
	"silent_death": {0.66, 118, 331},
	"uneven":       {0.90, 63, 84},
}

// A datagramBound is what its large flows of datagrams have to keep.
type datagramBound struct{ share, order float64 }

// datagramBounds are the same for large flows of datagrams: a twentyfifth below the least share,
// and half more than most of what came behind a later one.
var datagramBounds = map[string]datagramBound{
	"baseline":     {0.88, 0.02},
	"bloated":      {0.88, 0.02},
	"bw_10to1":     {0.88, 0.10},
	"bw_4to1":      {0.88, 0.03},
	"congested":    {0.57, 0.19},
	"dsl_cable":    {0.88, 0.02},
	"dual_lte":     {0.84, 0.05},
	"fiber_lte":    {0.88, 0.02},
	"flap":         {0.64, 0.06},
	"jit_20":       {0.83, 0.07},
	"jit_5":        {0.87, 0.03},
	"loss_05":      {0.85, 0.13},
	"loss_1":       {0.64, 0.33},
	"loss_2":       {0.74, 0.30},
	"lte_geo":      {0.69, 0.53},
	"lte_starlink": {0.86, 0.03},
	"metered":      {0.76, 0.02},
	"renumber":     {0.86, 0.03},
	"rtt_120":      {0.85, 0.06},
	"rtt_320":      {0.75, 0.27},
	"rtt_40":       {0.88, 0.02},
	"rtt_70":       {0.87, 0.03},
	"silent_death": {0.64, 0.03},
	"uneven":       {0.88, 0.02},
}

// downBounds and datagramDownBounds are those of the other direction, both from 8 seeds.
var downBounds = map[string]bound{
	"congested":    {0.57, 58, 74},
	"lte_starlink": {0.80, 86, 125},
	"metered":      {0.77, 225, 299},
}

var datagramDownBounds = map[string]datagramBound{
	"congested":    {0.57, 0.19},
	"lte_starlink": {0.78, 0.20},
	"metered":      {0.75, 0.02},
}
