package conf

import (
	"errors"
	"math/big"
	"slices"
)

var errNoPoint = errors.New("is no Ed25519 public key: a character was copied wrongly, or it is another kind of key")

// checkPoint holds that the 32 bytes of a public key are a point that somebody's private key makes: one of
// the curve, in its one form (RFC 8032, Section 5.1.3), and not one of the eight that eight times give
// nothing, with which everybody agrees on the same secret (RFC 7748, Section 6.1). A key that was copied
// wrongly is mostly found so.
func checkPoint(key []byte) error {
	b := slices.Clone(key)
	slices.Reverse(b)
	odd := b[0]&0x80 != 0 // x is
	b[0] &= 0x7F
	c, y := newCurve(), new(big.Int).SetBytes(b)
	if y.Cmp(c.p) >= 0 {
		return errNoPoint
	}
	if x2 := c.squareOfX(y); big.Jacobi(x2, c.p) < 0 || x2.Sign() == 0 && odd {
		return errNoPoint
	}
	for range 3 {
		y = c.double(y)
	}
	if y.Cmp(c.one) == 0 {
		return errNoPoint
	}
	return nil
}

// A curve is Ed25519's: -x²+y² = 1+dx²y² over the integers modulo p (RFC 8032, Section 5.1).
type curve struct{ p, d, one *big.Int }

func newCurve() *curve {
	c := &curve{p: new(big.Int).Lsh(big.NewInt(1), 255), one: big.NewInt(1)}
	c.p.Sub(c.p, big.NewInt(19))
	c.d = c.over(big.NewInt(-121665), big.NewInt(121666))
	return c
}

// squareOfX is x² = (y²-1)/(dy²+1).
func (c *curve) squareOfX(y *big.Int) *big.Int {
	y2 := new(big.Int).Mul(y, y)
	below := new(big.Int).Mul(c.d, y2)
	return c.over(y2.Sub(y2, c.one), below.Add(below, c.one))
}

// double is the y of twice a point: (y²+x²)/(2-y²+x²).
func (c *curve) double(y *big.Int) *big.Int {
	x2, y2 := c.squareOfX(y), new(big.Int).Mul(y, y)
	below := new(big.Int).Sub(x2, y2)
	return c.over(y2.Add(y2, x2), below.Add(below, big.NewInt(2)))
}

// over is a/b modulo p; b is not 0 there.
func (c *curve) over(a, b *big.Int) *big.Int {
	out := new(big.Int).ModInverse(new(big.Int).Mod(b, c.p), c.p)
	return out.Mod(out.Mul(out, a), c.p)
}
