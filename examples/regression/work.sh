set -e
brokersim kvs put greeting=Bonjour
brokersim module load ./greeter.py
for name in Ada Grace Jean; do brokersim rpc greeter.hello "{\"name\":\"$name\"}"; done
