"""How an aggregator takes in lines: judged one by one, or faster where they are plain."""
