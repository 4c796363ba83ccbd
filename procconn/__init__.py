from procconn.decoder import *
