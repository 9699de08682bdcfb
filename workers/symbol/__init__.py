"""One symbol in its worker.

claims      which symbols this process has
term        from a won claim to the loss of it: read, step, commit, renew
heartbeat   its signs of life
store       what it needs of the store
commit      what one commit writes and publishes
verdicts    what is said of minutes once they are closed
conflicts   what is said of trades under an id that was applied before
doubt       what a term does while its wall clock is not believed
"""
