package probe

var (
	MetItself = metItself
	HasToken  = hasToken
)
