package probe

var MetItself = metItself
