from merge import *
import json
f=sys.argv[1]; how=sys.argv[2]; alpha=float(sys.argv[3]); ks=[int(a) for a in sys.argv[4].split(",")]; ep=int(sys.argv[5]); lastep=int(sys.argv[6]); lr=float(sys.argv[7])
seed=int(f.split("_")[-1].split(".")[0])
net=mnist_mlp(init="torch"); net.load_state_dict(torch.load(f))
dn=mnist_mlp(init="torch"); dn.load_state_dict(torch.load(f"dense{seed}.pt")); dn.eval()
with torch.no_grad(): TL=dn(X)
lab=labels_from(net); Z=gsum(X,lab); r=reduced(net,lab)
print(f,how,alpha,"start",r.fc1.weight.shape,"val",acc(r,gsum(XV,lab),YV),"test",acc(r,gsum(XT,lab),YT),flush=True)
t=time.time()
for i,k in enumerate(ks):
    r,lab=merge(r,lab,Z,k,how); Z=gsum(X,lab)
    a=acc(r,gsum(XV,lab),YV)
    e=lastep if i==len(ks)-1 else ep
    fit(r,e,lr,x=Z,teacher=TL,alpha=alpha,T=3.0,seed=i)
    h=r.fc1.weight.shape[0]
    print(k,"tied",round(a,2),"val",round(acc(r,gsum(XV,lab),YV),2),"test",round(acc(r,gsum(XT,lab),YT),2),"train",round(acc(r,Z[:20000],Y[:20000]),2),"kept",int((lab>=0).sum()),"h",h,"net %.1fx"%(239711/(k*h+15*h+10+784*math.ceil(math.log2(k+1))/32)),round(time.time()-t),flush=True)
torch.save((r.state_dict(),lab),f"red_{how}_{alpha:g}_{f}")
